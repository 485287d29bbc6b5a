import io
from datetime import datetime

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset

from covidcxr.cli.dicom import command
from covidcxr.dicom.deidentify import MAX_SHIFT_DAYS, Deidentifier, deidentify_file, read_key
from covidcxr.errors import ImageError
from support.dicom_node import NAME, PATIENT_ID, chest, dciodvfy, save

KEY = bytes(range(32))
SECRETS = (*NAME.split("^"), PATIENT_ID, "Arzt", "Hospital", "Tochter", "19500102", "2.25.77", "2.25.1001", "Private")


def item(**elements):
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def full(**elements):
    """A radiograph with identity everywhere that the profile thinks of, nested and private."""
    ds = chest(
        InstitutionName="Hospital",
        StationName="Hospital-1",
        OtherPatientIDsSequence=[item(PatientID=PATIENT_ID)],
        PatientComments="Tochter",
        ImageComments="Tochter",
        AcquisitionDate="20260103",
        AcquisitionDateTime="20260103121314.5",
        OperatorsName="Arzt^Otto",
        SourceImageSequence=[item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="2.25.1001")],
        AnatomicRegionSequence=[item(CodeValue="51185008", CodeMeaning="Chest", InstitutionName="Hospital")],
        **elements,
    )
    ds.private_block(0x0011, "Private Vendor", create=True).add_new(1, "LO", NAME)
    ds.add_new(0x50000010, "US", 1)  # curve data
    return ds


def through_file(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue(), pydicom.dcmread(io.BytesIO(buffer.getvalue()))


def test_nothing_of_the_patient_is_left():
    data, made = through_file(Deidentifier(KEY)(full()))
    assert all(secret.encode() in through_file(full())[0] for secret in SECRETS)
    for secret in SECRETS:
        assert secret.encode() not in data, secret
    assert made.PatientName == made.PatientID == Deidentifier(KEY).pseudonym(PATIENT_ID)
    assert made.PatientBirthDate == ""
    assert not [element for element in made if element.tag.is_private or element.tag.group == 0x5000]
    assert made.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_the_image_stays():
    source = full()
    made = Deidentifier(KEY)(source)
    assert made.PixelData == source.PixelData
    for keyword in ("Rows", "Columns", "Modality", "ViewPosition", "BodyPartExamined", "SOPClassUID"):
        assert made[keyword].value == source[keyword].value
    assert made.AnatomicRegionSequence[0].CodeValue == "51185008"
    assert np.array_equal(through_file(made)[1].pixel_array, through_file(source)[1].pixel_array)


def test_the_original_is_not_changed():
    source = full()
    before = through_file(source)[0]
    Deidentifier(KEY)(source)
    assert through_file(source)[0] == before


def test_uids_are_mapped_alike_everywhere_and_otherwise_with_another_key():
    first, second = Deidentifier(KEY)(full()), Deidentifier(KEY)(chest(2))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert Deidentifier(KEY)(full()).SOPInstanceUID == first.SOPInstanceUID
    other = Deidentifier(KEY[::-1])(full())
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert other.PatientID != first.PatientID
    for uid in (first.SOPInstanceUID, first.StudyInstanceUID, first.SeriesInstanceUID):
        assert uid.is_valid


def test_dates_of_a_patient_move_together():
    made = Deidentifier(KEY)(full())
    days = [datetime.strptime(str(made[k].value), "%Y%m%d") for k in ("StudyDate", "AcquisitionDate")]
    assert (days[1] - days[0]).days == 1
    assert 1 <= (datetime(2026, 1, 2) - days[0]).days <= MAX_SHIFT_DAYS
    assert str(made.AcquisitionDateTime).startswith(str(made.AcquisitionDate))
    other = Deidentifier(KEY)(full(PatientID="another"))
    assert other.StudyDate != made.StudyDate
    assert Deidentifier(KEY)(chest(2)).StudyDate == made.StudyDate


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_a_date_that_is_none_is_emptied():
    assert Deidentifier(KEY)(chest(StudyDate="Geheim")).StudyDate == ""


def test_the_validator_finds_no_error_that_was_not_there(tmp_path):
    source, made = save(full(), tmp_path / "source.dcm"), save(Deidentifier(KEY)(full()), tmp_path / "made.dcm")
    errors = [{line for line in dciodvfy(file).splitlines() if line.startswith("Error")} for file in (source, made)]
    assert errors[1] <= errors[0]


@pytest.mark.parametrize(("elements", "reason"), [({"BurnedInAnnotation": "YES"}, "burnt-in annotations"),
                                                  ({"PixelData": None}, "without PixelData")])  # fmt: skip
def test_what_cannot_be_de_identified_is_refused(elements, reason):
    with pytest.raises(ImageError, match=reason):
        Deidentifier(KEY)(chest(**elements))


def test_a_broken_file_is_named_by_its_error_alone(tmp_path):
    (tmp_path / "x.dcm").write_bytes(NAME.encode() * 100)
    with pytest.raises(ImageError, match="InvalidDicomError") as caught:
        deidentify_file(tmp_path / "x.dcm", tmp_path, Deidentifier(KEY))
    assert NAME not in str(caught.value)


def test_keys(tmp_path):
    key = read_key(tmp_path / "key")
    assert read_key(tmp_path / "key") == key
    assert len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(ValueError, match="at least 32 bytes"):
        read_key(tmp_path / "short")
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Deidentifier(b"short")


def test_the_command_writes_copies_and_says_what_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "covidcxr.dicom.node.logs.configure", lambda: None
    )  # it silences libraries for the whole process
    source = tmp_path / "in"
    source.mkdir()
    before = [save(chest(number), source / f"{number}.dcm").read_bytes() for number in range(2)]
    save(chest(2, BurnedInAnnotation="YES"), source / "2.dcm")
    line = ["deidentify", str(source), "--out", str(tmp_path / "out"), "--key", str(tmp_path / "key")]
    done = CliRunner().invoke(command, line)
    assert done.exit_code == 1
    assert "2 images, 1 left out" in done.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 2
    assert [(source / f"{number}.dcm").read_bytes() for number in range(2)] == before
    CliRunner().invoke(command, line)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
