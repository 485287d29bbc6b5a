import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from covidcxr import DISCLAIMER
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.flags import TEXTS, FlagCode
from covidcxr.prediction.heatmap import overlay
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from support.browsing import (
    BRIGHT,
    GREY,
    NORMAL,
    RADIOGRAPH,
    TEXT,
    choose,
    drop,
    prevalence,
    serving,
    shown,
    switch,
    wait_done,
    without_map,
)
from support.small_models import with_metadata
from support.uploads import picture


def test_dropped_files_become_cards(page, predictor):
    drop(page, NORMAL, RADIOGRAPH, TEXT, BRIGHT)
    wait_done(page, 4)
    cards = page.locator(".card").all()
    assert [card.locator("h3").inner_text() for card in cards] == [NORMAL[0], RADIOGRAPH[0], TEXT[0], BRIGHT[0]]
    verdicts = {0: "Normal", 1: "Normal", 3: "COVID-19"}
    for number, verdict in verdicts.items():
        expect(cards[number].locator(".verdict-class")).to_have_text(verdict)
        expect(cards[number].locator(".bar.most")).to_contain_text(verdict)
        expect(cards[number].locator(".error")).to_be_hidden()
    assert np.abs(without_map(cards[0]) - GREY).max() <= 1
    assert np.abs(without_map(cards[1]) - GREY).max() <= 1  # from the server: no browser reads DICOM
    assert np.abs(without_map(cards[3]) - np.maximum(GREY, 160)).mean() < 2


def test_bars_are_as_long_as_the_probabilities(page, predictor):
    choose(page, NORMAL)
    wait_done(page, 1)
    for label, share in predictor.predict(GREY).probabilities.items():
        bar = page.locator(f".bar[data-label={label}]")
        expect(bar.locator(".percent")).to_have_text(f"{100 * share:.0f} %")
        bar.locator(".fill").evaluate("(fill) => Promise.all(fill.getAnimations().map((motion) => motion.finished))")
        track, fill = (bar.locator(part).bounding_box()["width"] for part in (".track", ".fill"))
        assert fill / track == pytest.approx(share, abs=0.01)


def test_an_unreadable_file_becomes_an_error_card_and_its_name_stays_text(page):
    drop(page, TEXT)
    wait_done(page, 1)
    card = page.locator(".card")
    expect(card.locator(".error")).to_contain_text("Expected a PNG, JPEG, TIFF, BMP, WebP or DICOM image.")
    expect(card.locator(".prediction")).to_be_hidden()
    expect(card.locator(".viewer")).to_be_hidden()
    expect(card.locator("img")).to_have_count(0)


def test_the_map_looks_as_in_a_file_of_the_command_line(page, predictor):
    grey = np.full((400, 500), 150, np.uint8)
    grey[260:340, 80:160] = 255
    choose(page, ("square.png", picture(grey)))
    wait_done(page, 1)
    card = page.locator(".card")
    for strength in (50, 100):
        card.get_by_label("Strength").fill(str(strength))
        file = np.asarray(overlay(grey, predictor.predict(grey).activation_map, strength=strength / 100))
        difference = np.abs(shown(card)[..., :3].astype(int) - file)
        assert difference[20:-20, 25:-25].mean() < 2  # outside of it the page draws its frame and nothing else
        assert difference[:18].max() == difference[-18:].max() == difference[:, :22].max() == 0
        assert np.abs(file[300, 120].astype(int) - 255).max() > 60
    assert np.abs(without_map(card) - grey).max() <= 1


def test_the_slider_and_the_switch_set_the_map(page):
    choose(page, BRIGHT)
    wait_done(page, 1)
    card = page.locator(".card")

    def change(strength):
        card.get_by_label("Strength").fill(str(strength))
        return np.abs(shown(card)[..., 0].astype(int) - shown(card)[..., 2]).mean()

    weak, strong = change(20), change(90)
    assert strong > 3 * weak > 0
    switch(card).uncheck()
    assert np.ptp(shown(card)[..., :3], axis=2).max() == 0
    expect(card.get_by_label("Strength")).to_be_disabled()
    expect(card.get_by_role("img")).to_have_accessible_name("Radiograph bright.jpg, without the activation map")


def test_an_image_appears_before_the_answer(page):
    """The server is held back: the picture must not wait for it."""
    held = []
    page.route("**/predictions", lambda route: held.append(route))
    choose(page, NORMAL)
    expect(page.locator(".card.pictured canvas")).to_be_visible()
    assert np.abs(shown(page.locator(".card"))[..., 0].astype(int) - GREY).max() <= 1
    expect(page.locator(".state")).to_have_text(re.compile("Scoring"))
    held[0].continue_()
    wait_done(page, 1)
    expect(page.locator(".state")).to_be_hidden()


def test_an_image_the_model_declines_says_why(page):
    choose(page, ("flat.png", picture(np.full((90, 90), 90, np.uint8))))
    wait_done(page, 1)
    card = page.locator(".card")
    expect(card.locator(".prediction")).to_contain_text(TEXTS[FlagCode.UNIFORM])
    expect(card.locator(".bars")).to_be_hidden()
    expect(card.locator(".points")).to_be_hidden()
    expect(card.locator(".map")).to_be_hidden()


@pytest.fixture
def judged_page(browser, model_file, tmp_path):
    """The page of the tiny model with conformal sets and an audit in its file."""
    says = "It tells them apart without the lungs."
    finding = Finding(test="lungs_erased", verdict=Verdict.FAIL, value=0.9, low=0.8, high=1.0, says=says)
    passed = replace(finding, verdict=Verdict.PASS, says="All is well here.")
    conformal = Conformal(
        coverage=0.9, thresholds=(0.3, 0.3, 0.4), images=(9, 9, 9), scores=(0.0, 0.33), low=(0.1, 0.25), high=(0.2, 0.4)
    )
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=(finding, passed))
    path = with_metadata(model_file, tmp_path / "judged.onnx", conformal=conformal, audit=audit)
    with serving(Predictor.load(path)) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        yield page


def test_a_card_says_what_remains_possible_how_sure_that_is_and_what_an_audit_found(judged_page):
    choose(judged_page, NORMAL)
    wait_done(judged_page, 1)
    card = judged_page.locator(".card")
    expect(card.locator(".possible")).to_have_text("Normal or Other pneumonia")
    expect(card.locator(".interval")).to_have_text("10 % to 20 %")
    expect(card.locator(".interval-row")).to_contain_text("It need not contain the probability above.")
    audit = card.locator(".audit")
    expect(audit.locator("summary")).to_have_text("Audit of this model: not passed")
    audit.locator("summary").click()
    expect(audit.get_by_role("listitem")).to_have_text(["It tells them apart without the lungs."])


def test_without_conformal_sets_and_audit_nothing_of_them_shows(page):
    choose(page, NORMAL)
    wait_done(page, 1)
    expect(page.locator(".sureness, .audit")).to_have_count(0)
    expect(page.locator(".in-lungs")).to_be_hidden()


def test_the_map_of_covid_against_pneumonia_has_two_colours(page):
    choose(
        page, ("halves.png", picture((np.where(np.arange(200) < 100, 20, 235) * np.ones((200, 1))).astype(np.uint8)))
    )
    wait_done(page, 1)
    card = page.locator(".card")
    card.get_by_label("Strength").fill("100")
    card.get_by_label("COVID-19 against other pneumonia").check()
    red, _, blue, _ = np.moveaxis(shown(card).astype(int), -1, 0)
    assert (blue - red)[90:110, 40:60].min() > 60  # dark: speaks against COVID-19
    assert (red - blue)[90:110, 140:160].min() > 60
    expect(card.locator(".scale-against")).to_be_visible()
    expect(card.locator(".scale")).to_be_hidden()
    expect(card.locator("canvas")).to_have_attribute("aria-label", re.compile("COVID-19 against other pneumonia"))


def test_pictures_of_16_bits_are_shown_as_the_model_sees_them(page):
    choose(page, ("deep.png", picture(GREY.astype(np.uint16) * 16)))  # 12 bits of 16: almost black in a browser
    wait_done(page, 1)
    assert without_map(page.locator(".card")).max() > 250


def test_a_file_over_the_limit_is_not_sent(page):
    calls = []
    page.on("request", lambda call: calls.append(call.url))
    choose(page, ("large.dcm", bytes(5 * 2**20)))
    wait_done(page, 1)
    expect(page.locator(".error")).to_have_text("Expected at most 4 MB. Received 5 MB.")
    assert [url for url in calls if url.endswith("predictions")] == []


def test_an_unreachable_server_becomes_an_error_card(page):
    page.route("**/predictions", lambda route: route.fulfill(status=502, body="<html>bad gateway"))
    choose(page, NORMAL)
    wait_done(page, 1)
    expect(page.locator(".error")).to_have_text("Expected a prediction. Received status 502.")


def test_many_files_keep_their_order_and_clear_starts_again(page):
    files = [(f"{i}.png", NORMAL[1]) for i in range(12)]
    drop(page, *files[:7])
    drop(page, *files[7:])
    wait_done(page, 12)
    assert page.locator(".card h3").all_inner_texts() == [name for name, _ in files]
    expect(page.locator(".verdict-class:visible")).to_have_count(12)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#results")).to_be_hidden()
    choose(page, NORMAL)
    wait_done(page, 1)
    choose(page, NORMAL)  # the same file again
    wait_done(page, 2)


def test_clear_forgets_what_is_under_way(page):
    held = []
    page.route("**/predictions", lambda route: held.append(route))
    choose(page, *[(f"{i}.png", NORMAL[1]) for i in range(5)])
    expect(page.locator(".card.pictured")).to_have_count(5)
    page.get_by_role("button", name="Clear").click()
    page.wait_for_timeout(300)  # requests on their way when it was clicked have arrived
    forgotten = len(held)
    choose(page, BRIGHT)
    expect(page.locator(".card.pictured")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("0 of 1 done")
    deadline = time.monotonic() + 5
    while len(held) == forgotten and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    held[forgotten].continue_()
    wait_done(page, 1)
    expect(page.locator(".verdict-class")).to_have_text("COVID-19")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_the_disclaimer_is_always_in_sight(open_page, size):
    page = open_page(viewport={"width": size[0], "height": size[1]})
    choose(page, NORMAL, BRIGHT)
    wait_done(page, 2)
    note = page.get_by_text(DISCLAIMER)
    for share in (0, 0.3, 0.6, 1):
        page.evaluate("(share) => scrollTo(0, share * document.documentElement.scrollHeight)", share)
        expect(note).to_be_in_viewport(ratio=1)
        uncovered = note.evaluate(
            """(note) => {
                const { left, top, width, height } = note.getBoundingClientRect();
                const seen = document.elementFromPoint(left + width / 2, top + height / 2);
                return note.closest("aside").contains(seen) || seen.outerHTML;
            }"""
        )  # the middle of a text of two lines may lie between them
        assert uncovered is True
    assert page.evaluate("scrollY") > 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    drop(page, ("a-very-long-name-without-a-gap" * 8 + ".png", NORMAL[1]), RADIOGRAPH, ("b" * 200, b"no picture"))
    wait_done(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    texts = page.locator(".card h3, .card .error:visible")
    expect(texts).to_have_count(4)
    assert texts.evaluate_all("(texts) => texts.every((text) => text.scrollWidth <= text.clientWidth)")
    boxes = [page.locator(".card").nth(number).bounding_box() for number in range(3)]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)


def test_results_come_into_sight_where_the_window_is_small(open_page):
    for height, scrolls in ((667, True), (2000, False)):
        page = open_page(viewport={"width": 375, "height": height})
        page.get_by_label("Choose images").evaluate("(input) => input.focus({ preventScroll: true })")
        choose(page, NORMAL)
        wait_done(page, 1)
        title = page.get_by_role("heading", name="Results")
        expect(title).to_be_in_viewport(ratio=1)
        place = title.bounding_box()["y"]
        assert (place < 100) == scrolls
        assert place > page.locator(".disclaimer").bounding_box()["height"]
        expect(page.get_by_label("Choose images")).to_be_focused()


@pytest.mark.parametrize("width", [320, 375])
def test_nothing_about_the_model_sticks_out_sideways(open_page, width):
    page = open_page(path="model", viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_everything_can_be_done_with_the_keyboard(page):
    def tab(target, key="Tab"):
        page.keyboard.press(key)
        expect(target).to_be_focused()

    tab(page.get_by_role("link", name="Skip to content"))
    for name in ("covidcxr", "Images", "About the model"):
        tab(page.get_by_role("link", name=name, exact=True))
    tab(page.get_by_label("Show patient data from the DICOM header"))
    tab(page.get_by_label("Choose images"))
    assert page.locator("label.button").evaluate("(label) => getComputedStyle(label).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.wait_for_timeout(200)  # until the browser has heard that a test waits instead of a window
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    chooser.value.set_files([{"name": n, "mimeType": "", "buffer": content} for n, content in (NORMAL, BRIGHT)])
    wait_done(page, 2)
    tab(page.locator("#samples summary"))
    for name in ("All as JSON", "All as CSV", "Clear"):
        tab(page.get_by_role("button", name=name))
    first, second = page.locator(".strip a").all()
    tab(first)
    tab(second)
    page.keyboard.press("Enter")
    expect(page.locator(".card").nth(1)).to_be_focused()
    expect(page.locator(".card").nth(1)).to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(page.locator(".card").nth(1).locator(".stage")).to_be_focused()
    second.focus()
    tab(prevalence(page, "slider"))
    page.keyboard.press("ArrowRight")
    tab(prevalence(page, "spinbutton"))
    expect(prevalence(page, "spinbutton")).to_have_value("5.1")
    card = page.locator(".card").first
    switch(card).focus()
    slider = card.get_by_label("Strength")
    tab(slider)
    before, value = shown(card), int(slider.input_value())
    page.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == value + 5
    assert not np.array_equal(shown(card), before)
    tab(switch(card), "Shift+Tab")
    page.keyboard.press("Space")
    expect(slider).to_be_disabled()
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_label("Choose images")).to_be_focused()


def test_screen_readers_are_told(page):
    status = page.locator("#status[role=status]")
    choose(page, BRIGHT)
    wait_done(page, 1)
    expect(status).to_contain_text(re.compile(r"1 file done bright\.jpg: most like COVID-19, \d+ %\."))
    name = "Radiograph bright.jpg, with the activation map for COVID-19"
    expect(page.locator(".card").get_by_role("img")).to_have_accessible_name(name)
    expect(page.get_by_role("list", name="Probabilities")).to_have_count(1)
    expect(page.get_by_role("group", name="Where the evidence is")).to_have_count(1)
    choose(page, TEXT)
    wait_done(page, 2)
    expect(status).to_contain_text("not scored")


def test_it_is_light_or_dark_as_the_reader_likes(open_page):
    grounds = [
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    light, dark = (sum(map(int, re.findall(r"\d+", ground)[:3])) / 3 for ground in grounds)
    assert light > 230
    assert dark < 30


def test_bars_and_ramps_keep_their_colours_at_high_contrast(open_page):
    page = open_page(forced_colors="active", reduced_motion="reduce")
    choose(page, BRIGHT)
    wait_done(page, 1)
    for part in (".bar.most .track", ".scale .ramp"):
        colours = np.asarray(Image.open(io.BytesIO(page.locator(part).screenshot())).convert("RGB"), int)
        assert np.ptp(colours[colours.shape[0] // 2], axis=0).max() > 60, part


def test_names_of_classes_stay_in_one_line(page):
    lines = "(selector) => [...document.querySelectorAll(selector)].map((name) => name.getClientRects().length)"
    widths = range(320, 420, 10)

    def at(width, selector):
        page.set_viewport_size({"width": width, "height": 800})
        return page.evaluate(lines, selector)

    assert {tuple(at(width, ".intro p span")) for width in widths} == {(1, 1, 1)}
    choose(page, NORMAL)
    wait_done(page, 1)
    assert {tuple(at(width, ".point .unbroken")) for width in widths} == {(1, 1)}


def test_the_page_says_what_it_is_and_is_not(page, predictor):
    main = page.locator("body")
    for text in (
        DISCLAIMER,
        predictor.model,
        predictor.artifact.intended_use,
        "does not mean that it works in your hospital",
        "Nothing you upload is stored",
    ):
        expect(main).to_contain_text(text)


@pytest.mark.real_data
def test_real_images(page, data_root):
    paths = sorted((data_root / "dicom").glob("*.dcm"))
    paths += [next((data_root / name).rglob("*.png")) for name in ("covid-cxnet", "nih-chestxray14")]
    drop(page, *[(path.name, path.read_bytes()) for path in paths])
    wait_done(page, len(paths))
    expect(page.locator(".card.pictured .verdict-class:visible")).to_have_count(len(paths))
    expect(page.locator(".card .map:visible")).to_have_count(len(paths))
