import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from support.browsing import (
    BRIGHT,
    GREY,
    NORMAL,
    RADIOGRAPH,
    TEXT,
    TIMEOUT_MS,
    choose,
    drop,
    shown,
    transfer_of,
    wait_done,
)
from support.uploads import dicom


def states(page):
    return page.locator(".strip-state").all_inner_texts()


@pytest.fixture
def held(page):
    """Requests for predictions that wait until the test lets them go."""
    calls = []
    page.route("**/predictions", lambda route: calls.append(route))
    return calls


def wait_for(page, calls, number):
    for _ in range(250):
        if len(calls) >= number:
            return
        page.wait_for_timeout(20)
    pytest.fail(f"Expected {number} requests. Received {len(calls)}.")


def test_every_file_shows_a_thumbnail_and_its_state(page, held):
    choose(page, NORMAL, BRIGHT, RADIOGRAPH, TEXT)
    expect(page.locator(".strip-name")).to_have_text([NORMAL[0], BRIGHT[0], RADIOGRAPH[0], TEXT[0]])
    expect(page.locator(".thumb canvas")).to_have_count(2)  # of those that a browser can show by itself
    wait_for(page, held, 2)
    assert states(page) == ["Scoring", "Scoring", "Waiting", "Waiting"]
    expect(page.get_by_role("progressbar")).to_have_js_property("value", 0)
    held[0].continue_()
    wait_for(page, held, 3)
    expect(page.get_by_role("progressbar")).to_have_js_property("position", 0.25)
    assert states(page)[1:] == ["Scoring", "Scoring", "Waiting"]
    held[1].continue_()
    wait_for(page, held, 4)
    held[2].continue_()
    held[3].continue_()
    wait_done(page, 4)
    expect(page.locator("#status")).to_contain_text("3 files done, 1 failed")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.locator(".thumb canvas")).to_have_count(3)
    assert [re.sub(r"\d+", "N", state) for state in states(page)] == [
        "Most like Normal, N %",
        "Most like COVID-N, N %",
        "Most like Normal, N %",
        "Failed",
    ]


def test_cancel_stops_what_waits_and_what_is_under_way(page, held):
    failed = []
    page.on("requestfailed", lambda call: failed.append(call.url))
    choose(page, *[(f"{n}.png", NORMAL[1]) for n in range(6)])
    wait_for(page, held, 2)
    held[0].continue_()
    wait_for(page, held, 3)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_contain_text("1 file done, 5 cancelled")
    assert states(page)[1:] == ["Cancelled"] * 5
    assert len(failed) == 2
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert len(held) == 3
    page.unroute("**/predictions")
    page.locator(".card").nth(4).get_by_role("button", name="Try again").click()
    expect(page.locator("#status")).to_contain_text("2 files done, 4 cancelled")
    expect(page.locator(".card").nth(4).locator(".verdict-class")).to_have_text("Normal")


def test_a_file_that_failed_can_be_tried_again(page):
    page.route("**/predictions", lambda route: route.fulfill(status=502, body="bad gateway"), times=1)
    choose(page, NORMAL)
    wait_done(page, 1)
    expect(page.locator(".error")).to_have_text("Expected a prediction. Received status 502.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".verdict-class")).to_have_text("Normal")
    expect(page.locator(".error")).to_be_hidden()
    expect(page.locator("#others")).to_have_text("")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(page, held, status):
    page.clock.install()
    choose(page, NORMAL)
    wait_for(page, held, 1)
    held[0].fulfill(status=status, headers={"Retry-After": "20"}, body="{}")
    state = page.locator(".card .state-text, .strip-state")
    expect(state).to_have_text(["Server busy, trying again in 20 s"] * 2)
    page.clock.run_for(19_000)
    assert len(held) == 1
    page.clock.run_for(1000)
    wait_for(page, held, 2)
    expect(state).to_have_text(["Scoring"] * 2)
    held[1].continue_()
    wait_done(page, 1)
    expect(page.locator(".verdict-class")).to_have_text("Normal")


def test_a_hundred_files_are_sent_two_at_a_time_and_only_pictures_near_the_reader_are_kept(page, held):
    choose(page, *[(f"{n}.png", NORMAL[1]) for n in range(100)])
    wait_for(page, held, 2)
    page.wait_for_timeout(500)
    assert len(held) == 2  # the others wait for an answer to one of them
    page.unroute("**/predictions")  # lets these go, too
    expect(page.locator("#count")).to_have_text("100 files done", timeout=5 * TIMEOUT_MS)
    expect(page.locator(".verdict-class:visible")).to_have_count(100)
    assert page.locator(".thumb canvas").count() == 100
    kept = "() => [...document.querySelectorAll('.card canvas')].filter((canvas) => canvas.width > 0).length"
    assert page.evaluate(kept) <= 10
    last = page.locator(".card").last
    assert shown(last).shape[:2] == GREY.shape
    assert page.evaluate(kept) <= 10


def test_a_pasted_picture_is_scored(page):
    transfer = transfer_of(page, NORMAL)
    transfer.evaluate(
        "(clipboardData) => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))"
    )
    wait_done(page, 1)
    expect(page.locator("h3.file-name")).to_have_text(NORMAL[0])


PATIENT = {"PatientID": "Roe-17", "PatientAge": "061Y", "PatientSex": "F", "StudyDate": "20200301"}


def test_the_patient_is_shown_to_those_who_ask_only(page):
    plate = ("plate.dcm", dicom(GREY, PatientName="Roe^Jane", **PATIENT))
    answers = []
    page.on("response", lambda answer: answer.url.endswith("/predictions") and answers.append(answer))
    choose(page, plate)
    wait_done(page, 1)
    expect(page.locator(".patient")).to_be_hidden()
    page.get_by_label("Show patient data from the DICOM header").check()
    choose(page, plate, NORMAL)
    wait_done(page, 3)
    first, second, third = page.locator(".card").all()
    expect(second.locator(".patient dd")).to_have_text(list(PATIENT.values()))
    expect(first.locator(".patient")).to_be_hidden()
    expect(third.locator(".patient")).to_be_hidden()  # not DICOM
    assert "Roe" not in answers[0].text()
    assert "Jane" not in page.content()


def test_files_dropped_while_others_are_under_way_join_them(page, held):
    choose(page, NORMAL)
    wait_for(page, held, 1)
    drop(page, BRIGHT)
    wait_for(page, held, 2)
    assert np.array_equal(states(page), ["Scoring", "Scoring"])
    for call in held:
        call.continue_()
    wait_done(page, 2)


def test_clear_leaves_nothing_of_the_images(page):
    choose(page, NORMAL, BRIGHT)
    wait_done(page, 2)
    page.get_by_role("button", name="Clear").click()
    state = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])")
    assert json.loads(state) == [{}, {}, "", None]
    assert NORMAL[0] not in page.content()
    expect(page.locator(".strip li")).to_have_count(0)


def test_a_picture_whose_file_is_gone_shows_nothing_broken(page, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for path in paths:
        path.write_bytes(NORMAL[1])
    page.set_input_files("#files", paths)
    wait_done(page, 8)
    last = page.locator(".card").last
    expect(last.locator("canvas")).to_have_js_property("width", 0)
    paths[-1].unlink()
    last.scroll_into_view_if_needed()
    expect(last.locator(".no-preview")).to_be_visible()
    expect(last.locator(".verdict-class")).to_have_text("Normal")
