import io

import numpy as np
import pytest

from covidcxr import DISCLAIMER
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from covidcxr.web.app import create_app
from covidcxr.web.pages.wording import percent
from covidcxr.web.pdf import render_pdf
from support.pdf_text import text_of
from support.small_models import with_metadata
from support.uploads import dicom, picture

GREY = radiograph(np.random.default_rng(0), size=(480, 400))
FLAT = np.full((90, 90), 90, np.uint8)


def judged(model_file, path, sentences):
    says = [f"Sentence {number} of the audit, of a length that such sentences have." for number in range(sentences)]
    findings = tuple(Finding(test="t", verdict=Verdict.FAIL, value=0.9, low=0.8, high=1.0, says=text) for text in says)
    conformal = Conformal(
        coverage=0.9, thresholds=(0.3, 0.3, 0.4), images=(9, 9, 9), scores=(0.0,), low=(0.1,), high=(0.2,)
    )
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=findings)
    return Predictor.load(with_metadata(model_file, path, conformal=conformal, audit=audit))


def test_everything_about_an_image_stands_on_one_page(model_file, tmp_path):
    predictor = judged(model_file, tmp_path / "m.onnx", 3)
    pdf = render_pdf(GREY, predictor.predict(GREY), predictor.artifact, "plate.png", 0.2)
    text = text_of(pdf)
    prediction = predictor.predict(GREY)
    for expected in (
        DISCLAIMER,
        "plate.png",
        "Most like Normal",
        *(percent(share) for share in prediction.probabilities.values()),
        "What remains possible: Normal or Other pneumonia.",
        "Share with COVID-19 among validation images with a similar score: 10 % to 20 %. A second calibration",
        "Above the screening threshold of 30.0 % for COVID-19: PPV 44.4 % where 20.0 % of people have COVID-19.",
        "Below the balanced threshold of 36.0 % for COVID-19: NPV 96.0 %",
        "Audit of this model (2026-01-01): not passed.",
        "Sentence 2 of the audit",
        predictor.model,
        "UTC",
    ):
        assert expected in text
    assert "did not fit" not in text
    assert pdf.count(b"/Subtype /Image") == 2
    assert len(pdf) < 300_000


def test_what_has_no_room_is_left_out_and_the_page_says_so(model_file, tmp_path):
    predictor = judged(model_file, tmp_path / "m.onnx", 60)
    text = text_of(render_pdf(GREY, predictor.predict(GREY), predictor.artifact, "plate.png", 0.05))
    assert "Sentence 0 of the audit" in text
    assert "Sentence 59" not in text
    assert "Some sentences did not fit on this page." in text


def test_an_image_that_the_model_declines_says_why_and_shows_no_bars(predictor):
    pdf = render_pdf(FLAT, predictor.predict(FLAT), predictor.artifact, "flat.png", 0.05)
    text = text_of(pdf)
    assert "The model declines to answer The image is uniform" in text
    assert "threshold" not in text
    assert pdf.count(b"/Subtype /Image") == 1


@pytest.mark.parametrize("shape", [(100, 900), (900, 100)])
def test_pictures_of_any_shape_fit(predictor, shape):
    grey = radiograph(np.random.default_rng(0), size=shape)
    text_of(render_pdf(grey, predictor.predict(grey), predictor.artifact, "x" * 400 + "żółć.png", 0.05))


@pytest.fixture(scope="module")
def client(predictor):
    return create_app(predictor).test_client()


def ask(client, data, prevalence="0.05", name="a.png"):
    fields = {"file": (io.BytesIO(data), name), "prevalence": prevalence}
    return client.post("/api/v1/report.pdf", data={key: value for key, value in fields.items() if value is not None})


def test_the_server_makes_it_of_any_image_and_says_nothing_of_the_patient(client):
    answer = ask(client, dicom(GREY, PatientID="Roe-17", PatientName="Roe^Jane"), name="plate.dcm")
    assert answer.mimetype == "application/pdf"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Roe" not in text_of(answer.data)


@pytest.mark.parametrize(("data", "status"), [(b"no picture", 422), (b"", 422)])
def test_what_is_no_image_is_told(client, data, status):
    answer = ask(client, data)
    assert answer.status_code == status
    assert "Expected a PNG" in answer.text


@pytest.mark.parametrize("prevalence", ["0", "0.6", "nan", "x", None])
def test_a_share_that_cannot_be_is_told(client, prevalence):
    answer = ask(client, picture(GREY), prevalence)
    assert answer.status_code == 400
    assert "Expected a prevalence of 0.001 to 0.5." in answer.text


def test_without_a_file_nothing_is_made(client):
    assert client.post("/api/v1/report.pdf", data={"prevalence": "0.1"}).status_code == 400


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.5, 0, "50 %"), (0.001, 0, "< 1 %"), (0.999, 0, "> 99 %"), (0.9996, 1, "> 99.9 %"), (0.0734, 1, "7.3 %")],
)
def test_nothing_is_written_as_certain(share, digits, text):
    assert percent(share, digits) == text
