import io
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from covidcxr import DISCLAIMER
from covidcxr.dicom.results.presentation import LEVELS, outlines
from covidcxr.dicom.results.report import results, structured_report
from covidcxr.errors import ImageError
from covidcxr.images.decode import decode_image
from covidcxr.labels import Label
from covidcxr.prediction.flags import Flag, FlagCode
from covidcxr.prediction.predictor import ActivationMap
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from support.dicom_node import CHEST, NAME, PATIENT_ID, capture_of, chest, dciodvfy, save
from support.dicom_objects import lookup_table
from support.environment import program

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"  # PS3.5 annex H


def through_file(ds):
    """Return the data set as a reader of its file gets it, and the file's bytes."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue())), buffer.getvalue()


def made(predictor, ds=None):
    """Results of a radiograph, as read back from files, and the radiograph."""
    source, data = through_file(ds or chest())
    grey = decode_image(data, "test.dcm")
    return [through_file(result)[0] for result in results(source, predictor.predict(grey), grey)], source


def texts(report):
    """Every concept and value of a report, in order: (meaning of the name, value)."""
    found = []
    for item in report.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "NUM":
            found.append((name, float(item.MeasuredValueSequence[0].NumericValue)))
        elif item.ValueType == "CODE":
            code = item.ConceptCodeSequence[0]
            found.append((name, f"{code.CodeValue} {code.CodingSchemeDesignator}"))
        elif item.ValueType == "TEXT":
            found.append((name, item.TextValue))
        if "ContentSequence" in item:
            found += texts(item)
    return found


def dx(**elements):
    ds = chest(SOPClassUID=DigitalXRayImageStorageForPresentation, Modality="DX", **elements)
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1
    return ds


SOURCES = {
    "computed radiograph": lambda: chest(),
    "digital radiograph with a window": lambda: dx(WindowCenter=[2000, 1000], WindowWidth=[3000, 500]),
    "inverse": lambda: chest(PhotometricInterpretation="MONOCHROME1"),
    "rescaled": lambda: chest(RescaleSlope=1, RescaleIntercept=0, RescaleType="US"),
    "colour": lambda: capture_of(CHEST),
    "lossy": lambda: chest(LossyImageCompression="01", LossyImageCompressionRatio=8.0,
                           LossyImageCompressionMethod="ISO_10918_1"),
    "Japanese": lambda: chest(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=JAPANESE),
    "VOI LUT and window": lambda: chest(VOILUTSequence=lookup_table(range(4096), 0, 12), WindowCenter=9, WindowWidth=9),
    "VOI LUT without items": lambda: chest(VOILUTSequence=[], WindowCenter=2048, WindowWidth=4096),
    "slope without intercept": lambda: chest(RescaleSlope=1),
    "intercept without slope": lambda: chest(RescaleIntercept=-1024),
    "two values in a name": lambda: chest(PatientName=[NAME, "Other"], PatientID=[PATIENT_ID, "2"], StudyID=["1", "2"]),
    "no type 2 attributes": lambda: chest(
        PatientBirthDate=None, PatientSex=None, StudyDate=None, StudyTime=None, StudyID=None, AccessionNumber=None,
        ReferringPhysicianName=None, PatientOrientation=None, BodyPartExamined=None),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_the_validators_find_no_error_and_dcmtk_renders_everything(kind, predictor, tmp_path):
    dump, picture, shown = (program(name, "dcmtk") for name in ("dsrdump", "dcm2pnm", "dcmp2pgm"))
    objects, source = made(predictor, SOURCES[kind]())
    assert len(objects) == (2 if kind == "colour" else 3)
    files = [save(result, tmp_path / f"{number}.dcm") for number, result in enumerate(objects)]
    for file in files:
        assert "Error" not in dciodvfy(file)
    report = subprocess.run([dump, files[0]], capture_output=True, text=True, check=True).stdout
    assert "COVID-19" in report
    subprocess.run([picture, files[1], tmp_path / "map.ppm"], check=True, capture_output=True)
    assert (tmp_path / "map.ppm").read_bytes().startswith(b"P6")
    if kind != "colour":
        save(source, tmp_path / "source.dcm")
        command = [shown, "-p", files[2], tmp_path / "source.dcm", tmp_path / "shown.pgm"]
        subprocess.run(command, check=True, capture_output=True)


def test_an_error_of_the_validator_would_be_seen(predictor, tmp_path):
    report = made(predictor)[0][0]
    del report.CompletionFlag
    assert "Error" in dciodvfy(save(report, tmp_path / "bad.dcm"))


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "MONOCHROME1", **WINDOW},
        {"PhotometricInterpretation": "MONOCHROME2", **WINDOW},
        {"VOILUTSequence": lookup_table(range(4095, -1, -1), 0, 12), **WINDOW},
        {"VOILUTSequence": [], **WINDOW},
        {"RescaleSlope": 2, "WindowCenter": 4096, "WindowWidth": 8192},
    ],
)
def test_the_presentation_state_shows_the_radiograph_as_it_is_decoded(elements, predictor, tmp_path):
    objects, source = made(predictor, chest(**elements))
    files = [save(objects[2], tmp_path / "state.dcm"), save(source, tmp_path / "source.dcm")]
    command = [program("dcmp2pgm", "dcmtk"), "-p", *files, tmp_path / "shown.pgm"]
    subprocess.run(command, check=True, capture_output=True)
    from PIL import Image

    shown = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float)
    grey = decode_image(files[1].read_bytes(), "source").astype(float)
    assert np.corrcoef(shown.ravel(), grey.ravel())[0, 1] > 0.99
    assert np.abs(shown - grey).mean() < 3


def test_results_join_the_study_with_uids_of_their_own(predictor):
    objects, source = made(predictor)
    assert {result.StudyInstanceUID for result in objects} == {source.StudyInstanceUID}
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        assert {str(result[keyword].value) for result in objects} == {str(source[keyword].value)}
    uids = [uid for result in objects for uid in (result.SOPInstanceUID, result.SeriesInstanceUID)]
    assert len(set(uids)) == 6
    for uid in uids:
        assert uid.is_valid
        assert uid.startswith("2.25.")
        assert int(uid[5:]) >> 76 & 0xF == 5  # a UUID by name, version 5
        assert source.SOPInstanceUID not in uid


def test_results_refer_to_their_image(predictor):
    (report, capture, state), source = made(predictor)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    series = state.ReferencedSeriesSequence[0]
    items = [evidence.ReferencedSOPSequence[0], capture.SourceImageSequence[0], series.ReferencedImageSequence[0]]
    for item in items:
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID
    assert evidence.SeriesInstanceUID == series.SeriesInstanceUID == source.SeriesInstanceUID


def test_made_again_a_result_is_the_same_object_and_another_model_s_is_another(predictor):
    (first, second), other = (made(predictor)[0] for _ in "12"), made(predictor, chest(2))[0]
    assert [r.SOPInstanceUID for r in first] == [r.SOPInstanceUID for r in second]
    assert not {r.SOPInstanceUID for r in first} & {r.SOPInstanceUID for r in other}
    prediction = replace(predictor.predict(CHEST), model="another@0123456789ab")
    assert structured_report(chest(), prediction).SOPInstanceUID != first[0].SOPInstanceUID


def test_the_image_is_not_changed(predictor):
    ds = through_file(chest())[0]
    before = through_file(ds)[1]
    results(ds, predictor.predict(CHEST), CHEST)
    assert through_file(ds)[1] == before


def test_the_report_says_what_the_prediction_says(predictor, tmp_path):
    finding = Finding(test="t", verdict=Verdict.WARN, value=1, low=0, high=1, says="It knows the collections.")
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=(finding,))
    flags = (Flag(FlagCode.UNLIKE_TRAINING, declines=False),)
    possible = {"prediction_set": (Label.NORMAL, Label.COVID), "interval": (0.125, 0.5)}
    prediction = replace(predictor.predict(CHEST), audit=audit, flags=flags, **possible)
    report = structured_report(through_file(chest())[0], prediction)
    assert "Error" not in dciodvfy(save(report, tmp_path / "report.dcm"))
    said = texts(report)
    certainties = [value for name, value in said if name == "Certainty of Finding"]
    assert certainties == pytest.approx([100 * value for value in prediction.probabilities.values()], abs=0.006)
    name, version = prediction.model.split("@")
    for pair in (
        ("Finding", "840539006 SCT"),
        ("Algorithm Name", name),
        ("Verdict of the shortcut audit of the model", "audit_warn 99COVIDCXR"),
        ("Verdict of the shortcut audit of the model", finding.says),
        ("To know before using the probabilities", "unlike_training 99COVIDCXR"),
        ("To know before using the probabilities", flags[0].text),
        ("Class that remains possible", "17621005 SCT"),
        ("Class that remains possible", "840539006 SCT"),
        ("Interval of the probability of COVID-19", "12.5 % to 50.0 %"),
        ("Comment", DISCLAIMER),
    ):
        assert pair in said
    assert any(key == "Algorithm Version" and value.startswith(version) for key, value in said)


def test_a_report_without_an_answer_says_why(predictor, tmp_path):
    flag = Flag(FlagCode.CHILD)
    prediction = replace(predictor.predict(CHEST), label=None, flags=(flag,), activation_map=None)
    (report,) = results(through_file(chest())[0], prediction, CHEST)
    assert ("No answer", flag.text) in texts(report)
    assert "Most probable class" not in dict(texts(report))
    assert "Error" not in dciodvfy(save(report, tmp_path / "report.dcm"))


def test_a_report_is_read_by_highdicom_as_the_template_it_follows(predictor):
    report = highdicom.sr.ComprehensiveSR.from_dataset(made(predictor)[0][0])
    groups = report.content.get_image_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == ["Normal", "Pneumonia", "COVID-19"]


def test_names_in_any_character_set_arrive(predictor):
    objects, _ = made(predictor, SOURCES["Japanese"]())
    assert {str(result.PatientName) for result in objects} == {JAPANESE}
    assert {result.SpecificCharacterSet for result in objects} == {"ISO_IR 192"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.filterwarnings("ignore:The value length")
def test_broken_values_in_the_header_are_left_empty(predictor):
    broken = chest(
        PatientBirthDate="0000-00-00", StudyTime="noon", PatientSex="FEMALE", WindowCenter="", WindowWidth=""
    )
    report = made(predictor, broken)[0][0]
    assert (report.PatientBirthDate, report.StudyTime, report.PatientSex) == ("", "", "")
    assert report.PatientName == NAME


def test_a_presentation_state_that_cannot_be_made_is_named_and_the_rest_is_sent(predictor, caplog):
    item = lookup_table(range(4096), 0, 12)[0]
    item.ModalityLUTType = "US"
    objects, _ = made(predictor, chest(ModalityLUTSequence=[item]))
    assert [result.Modality for result in objects] == ["SR", "OT"]
    assert "not made: presentation state of 2.25.1001: ValueError" in caplog.text


def test_of_several_values_the_first_counts(predictor):
    report = made(predictor, SOURCES["two values in a name"]())[0][0]
    assert (report.PatientName, report.PatientID, report.StudyID) == (NAME, PATIENT_ID, "1")


def test_an_image_of_no_study_is_refused(predictor):
    with pytest.raises(ImageError, match="without StudyInstanceUID"):
        structured_report(chest(StudyInstanceUID=None), predictor.predict(CHEST))


def test_the_capture_shows_the_map_and_below_it_the_disclaimer(predictor):
    capture = made(predictor)[0][1]
    pixels = capture.pixel_array
    height = CHEST.shape[0]
    assert pixels.shape[0] > height
    assert pixels.shape[1:] == (CHEST.shape[1], 3)
    band = pixels[height:]
    assert 0.02 < (band > 128).mean() < 0.5
    assert (pixels[:height].max(axis=-1) - pixels[:height].min(axis=-1)).max() > 50  # colour


def test_outlines_close_and_lie_around_the_place_of_the_evidence():
    values = np.zeros((7, 7), np.float32)
    values[2, 5] = 1
    lines = outlines(ActivationMap(values=values, box=(0.1, 0.1, 0.9, 0.9)), columns=700, rows=1400)
    assert len(lines) == len(LEVELS)
    centre = np.array([700 * (0.1 + 0.8 * 5.5 / 7), 1400 * (0.1 + 0.8 * 2.5 / 7)])
    for line in lines:
        assert (line[0] == line[-1]).all()
        assert line.mean(axis=0) == pytest.approx(centre, abs=40)
        assert (line.min(axis=0) < centre).all()
        assert (line.max(axis=0) > centre).all()


def test_labels_all_have_a_code(predictor):
    report = structured_report(chest(), predictor.predict(CHEST))
    assert sum(name == "Finding" for name, _ in texts(report)) == len(Label)
    assert isinstance(report, Dataset)
