from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage

from covidcxr.images.phantom import radiograph
from covidcxr.prediction.predictor import Predictor
from covidcxr.web.app import create_app
from covidcxr.web.patient import LONGEST, read_patient
from support.uploads import MULTIPART, dicom, multipart, picture

GREY = radiograph(np.random.default_rng(0), size=(240, 200))
PATIENT = {"PatientID": "Roe-17", "PatientAge": "061Y", "PatientSex": "F", "StudyDate": "20200301"}
PLATE = dicom(GREY, PatientName="Roe^Jane", **PATIENT)


@pytest.fixture(scope="module")
def client(predictor):
    return create_app(predictor).test_client()


def ask(client, data, include):
    body = multipart([("image", data)], [("include", include)] if include else [])
    return client.post("/api/v1/predictions", data=body, content_type=MULTIPART)


def test_the_patient_is_in_the_answer_to_those_who_ask_and_to_no_others(client):
    assert ask(client, PLATE, "patient").json[0]["patient"] == PATIENT
    for include in ("", "activation_map,preview,lungs"):
        answer = ask(client, PLATE, include)
        assert "patient" not in answer.json[0]
        assert not any(value in answer.text for value in ("Jane", "Roe", "061Y", "20200301"))


def test_no_element_but_the_four_is_read():
    assert set(read_patient(PLATE)) == set(PATIENT)


def test_a_header_without_them_gives_empty_texts_and_a_picture_no_patient():
    assert set(read_patient(dicom(GREY)).values()) == {""}
    assert read_patient(picture(GREY)) is None


@pytest.mark.filterwarnings("ignore:The value length")
def test_an_element_of_any_length_is_cut():
    assert read_patient(dicom(GREY, PatientID="9" * 500))["PatientID"] == "9" * LONGEST


def with_age_as(vr, data):
    """Return an object whose PatientAge, which it has, is said to be of another kind."""
    tag = b"\x10\0\x10\x10"
    assert tag + b"AS" in data
    return data.replace(tag + b"AS", tag + vr)


@pytest.mark.parametrize("vr", [b"FD", b"ZZ"])
def test_an_element_that_cannot_be_read_is_empty(client, vr):
    answer = ask(client, with_age_as(vr, PLATE), "patient")
    assert answer.status_code == 200
    assert answer.json[0]["patient"] == PATIENT | {"PatientAge": ""}


@pytest.fixture(scope="module")
def lung_client(lung_model_file):
    return create_app(Predictor.load(lung_model_file)).test_client()


def test_lungs_come_on_the_grid_of_the_map(lung_client):
    answer = ask(lung_client, picture(GREY), "lungs,activation_map").json[0]
    lungs = answer["lungs"]
    assert np.array_equal(np.array(lungs["values"]) > 0.5, np.tile([0, 1, 1, 0, 1, 1, 0], (7, 1)))
    assert lungs["box"] == answer["activation_map"]["box"]
    assert "lungs" not in ask(lung_client, picture(GREY), "activation_map").json[0]


def test_models_that_look_for_no_lungs_give_null(client):
    assert ask(client, picture(GREY), "lungs").json[0]["lungs"] is None


def test_an_image_that_the_model_declines_has_no_lungs(lung_client):
    assert ask(lung_client, picture(np.full((90, 90), 90, np.uint8)), "lungs").json[0]["lungs"] is None


UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}


def report(client, data):
    body = multipart([("file", data)], [])
    return client.post("/api/v1/report.dcm", data=body, content_type=MULTIPART)


def test_a_dicom_image_gets_a_structured_report_of_its_study(client):
    answer = report(client, dicom(GREY, PatientName="Roe^Jane", **PATIENT, **UIDS))
    ds = dcmread(BytesIO(answer.data))
    assert (answer.status_code, answer.mimetype) == (200, "application/dicom")
    assert (ds.SOPClassUID, ds.PatientID, ds.StudyInstanceUID) == (ComprehensiveSRStorage, "Roe-17", "1.2.3")
    assert ds.SOPInstanceUID != "1.2.3.4.5"


@pytest.mark.parametrize("vr", [b"FD", b"ZZ"])
def test_an_unreadable_optional_attribute_is_left_out_of_the_report(client, vr):
    answer = report(client, with_age_as(vr, dicom(GREY, **PATIENT, **UIDS)))
    ds = dcmread(BytesIO(answer.data))
    assert (answer.status_code, ds.PatientID, ds.StudyInstanceUID) == (200, "Roe-17", "1.2.3")
    assert not ds.get("PatientAge")


@pytest.mark.parametrize("vr", [b"FD", b"ZZ"])
def test_an_unreadable_study_is_refused_without_quoting_the_header(client, vr):
    study = b"\x20\x00\x0d\x00"  # the tag of StudyInstanceUID
    data = dicom(GREY, **PATIENT, **UIDS)
    assert study + b"UI" in data
    answer = report(client, data.replace(study + b"UI", study + vr))
    assert answer.status_code == 422
    assert answer.json["detail"].startswith("Expected a DICOM image")
    assert not any(value in answer.text for value in [*PATIENT.values(), *UIDS.values()])


def test_what_cannot_have_a_report_is_told(client, monkeypatch):
    assert "Expected a DICOM image" in report(client, picture(GREY)).json["detail"]
    broken = report(client, dicom(GREY)[:400])
    assert broken.status_code == 422
    assert report(client, PLATE).json["detail"].endswith("without StudyInstanceUID, SeriesInstanceUID.")
    monkeypatch.setattr("covidcxr.web.api.reports.has_dicom", lambda: False)
    assert report(client, PLATE).status_code == 501
