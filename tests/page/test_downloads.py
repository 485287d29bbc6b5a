import csv
import io
import json
import re

import pydicom
import pytest
from playwright.sync_api import expect

from covidcxr.cli import cli
from covidcxr.images.decode import decode_image
from support.browsing import BRIGHT, GREY, NORMAL, RADIOGRAPH, TEXT, choose, wait_done
from support.pdf_text import text_of
from support.uploads import dicom, picture

FLAT = "flat.png"
UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
PLATE = ("plate.dcm", dicom(GREY, PatientID="Roe-17", **UIDS))


def saved(page, button):
    """Click and return name and content of the file that the browser saves."""
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_the_result_as_json_is_what_the_command_line_prints(page, predictor):
    choose(page, RADIOGRAPH)
    wait_done(page, 1)
    name, content = saved(page, page.locator(".card").get_by_role("button", name="JSON"))
    assert name == "covidcxr-plate.json"
    prediction = predictor.predict(decode_image(RADIOGRAPH[1], RADIOGRAPH[0]))
    assert json.loads(content) == json.loads(json.dumps(prediction.to_dict(RADIOGRAPH[0])))


def test_all_results_as_json_are_a_list_with_what_failed(page):
    choose(page, NORMAL, TEXT)
    wait_done(page, 2)
    name, content = saved(page, page.get_by_role("button", name="All as JSON"))
    first, second = json.loads(content)
    assert name == "covidcxr-results.json"
    assert first["label"] == "normal"
    assert set(second) == {"path", "error"}
    assert second["error"].startswith("Expected a PNG")


def test_one_result_as_csv_is_one_row(page):
    choose(page, NORMAL, BRIGHT)
    wait_done(page, 2)
    name, content = saved(page, page.locator(".card").last.get_by_role("button", name="CSV"))
    assert name == "covidcxr-bright.csv"
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert [(row["path"], row["label"]) for row in rows] == [(BRIGHT[0], "covid")]


def test_all_results_as_csv_are_what_the_command_line_writes(page, model_file, tmp_path, monkeypatch):
    files = {NORMAL[0]: NORMAL[1], BRIGHT[0]: BRIGHT[1], 'a "comma", quoted.png': NORMAL[1]}
    files[FLAT] = picture(GREY * 0 + 90)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli(["predict", *files, "--csv", "out.csv", "--model", str(model_file)])
    assert not end.value.code
    choose(page, *files.items())
    wait_done(page, len(files))
    _, content = saved(page, page.get_by_role("button", name="All as CSV"))
    ours = list(csv.reader(content.decode().splitlines()))
    theirs = list(csv.reader((tmp_path / "out.csv").read_text("utf-8").splitlines()))
    assert ours[0] == theirs[0]
    assert [_numbers(row) for row in sorted(ours[1:])] == [_numbers(row) for row in sorted(theirs[1:])]


def _numbers(row):
    return [round(float(cell), 9) if re.fullmatch(r"\d[\d.e-]*", cell) else cell for cell in row]


def test_the_pdf_is_one_page_made_of_the_file_sent_again(page):
    choose(page, RADIOGRAPH)
    wait_done(page, 1)
    page.get_by_role("spinbutton", name="Share of people").fill("20")
    name, content = saved(page, page.get_by_role("button", name="PDF"))
    assert name == "covidcxr-plate.pdf"
    text = text_of(content)
    assert "plate.dcm" in text
    assert "where 20.0 % of people have COVID-19" in text


def test_a_dicom_file_gives_a_structured_report_to_those_who_ask_for_the_patient(page):
    asked = []
    page.on("request", lambda call: call.url.endswith("/report.dcm") and asked.append(call))
    choose(page, PLATE, NORMAL)
    wait_done(page, 2)
    button = page.get_by_role("button", name="DICOM SR")
    expect(button).to_have_count(1)  # the other file is not DICOM
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("names the patient. Tick the box")
    assert not asked
    page.get_by_label("name the patient in a DICOM SR").check()
    name, content = saved(page, button)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert name == "covidcxr-plate.dcm"
    ds = pydicom.dcmread(io.BytesIO(content))
    assert (ds.Modality, ds.PatientID, ds.StudyInstanceUID) == ("SR", "Roe-17", "1.2.3")


def test_a_pdf_that_waits_for_a_busy_server_says_so(page):
    choose(page, NORMAL)
    wait_done(page, 1)
    busy = {"status": 503, "headers": {"Retry-After": "20"}, "body": "{}"}
    page.route("**/report.pdf", lambda route: route.fulfill(**busy), times=1)
    page.clock.install()
    with page.expect_download():
        page.get_by_role("button", name="PDF").click()
        expect(page.get_by_role("alert")).to_have_text("Server busy, trying again in 20 s")
        page.clock.run_for(20_000)
    expect(page.locator(".report-error")).to_be_empty()


def test_a_pdf_that_cannot_be_made_says_why(page):
    choose(page, NORMAL)
    wait_done(page, 1)
    page.route("**/report.pdf", lambda route: route.fulfill(status=500, json={"detail": "Expected. Received."}))
    page.get_by_role("button", name="PDF").click()
    expect(page.get_by_role("alert")).to_have_text("Expected. Received.")
    expect(page.get_by_role("button", name="PDF")).to_be_enabled()
