"""Thresholds, and predictive values at the prevalence that a reader sets."""

import re

import pytest
from playwright.sync_api import expect

from covidcxr.prediction.predictor import Predictor
from support.browsing import BRIGHT, GREY, NORMAL, choose, prevalence, serving, wait_done
from support.uploads import picture


def predictive_values(point, share):
    """Return PPV and NPV, counted in a million people."""
    ill, well = 1e6 * share, 1e6 * (1 - share)
    above = [ill * point.sensitivity, well * (1 - point.specificity)]
    below = [well * point.specificity, ill * (1 - point.sensitivity)]
    return above[0] / sum(above), below[0] / sum(below)


def expect_values(cards, predictor, share):
    for card in cards:
        for point in predictor.artifact.operating_points:
            values = ["> 99.9 %" if v > 0.9995 else f"{100 * v:.1f} %" for v in predictive_values(point, share)]
            shown = card.locator(f".point[data-name={point.name}] .values")
            expect(shown).to_have_text(re.compile(rf"PPV {values[0]}\s+NPV {values[1]}"))


def test_cards_say_on_which_side_of_the_thresholds_they_lie(page):
    choose(page, ("dark.png", picture(GREY // 3)), NORMAL, BRIGHT)
    wait_done(page, 3)
    sides = [("Below", "Below"), ("Above", "Below"), ("Above", "Above")]
    for card, (screening, balanced) in zip(page.locator(".card").all(), sides, strict=True):
        texts = [f"{screening} the screening threshold of 30.0 %", f"{balanced} the balanced threshold of 36.0 %"]
        expect(card.get_by_role("list", name="Thresholds for COVID-19").get_by_role("listitem")).to_contain_text(texts)


def test_predictive_values_follow_the_share_of_people_with_covid(page, predictor):
    choose(page, NORMAL)
    wait_done(page, 1)
    slider, number = prevalence(page, "slider"), prevalence(page, "spinbutton")
    expect_values(page.locator(".card").all(), predictor, 0.05)
    number.fill("20.5")
    expect(slider).to_have_value("20.5")
    expect(slider).to_have_attribute("aria-valuetext", "20.5 %")
    choose(page, BRIGHT)
    wait_done(page, 2)
    expect_values(page.locator(".card").all(), predictor, 0.205)
    slider.fill("0.1")
    expect(number).to_have_value("0.1")
    expect_values(page.locator(".card").all(), predictor, 0.001)
    expect(page.locator(".prevalence")).to_contain_text("validation images used to choose the thresholds")


@pytest.mark.parametrize(("typed", "kept"), [("99", "50"), ("0", "0.1"), ("7.26", "7.3"), ("", "5")])
def test_a_share_that_cannot_be_is_mended(page, predictor, typed, kept):
    choose(page, NORMAL)
    wait_done(page, 1)
    number = prevalence(page, "spinbutton")
    number.fill(typed)
    number.blur()
    expect(number).to_have_value(kept)
    expect_values(page.locator(".card").all(), predictor, float(kept) / 100)


def test_nothing_of_this_shows_for_a_model_without_operating_points(browser, plain_model_file):
    with serving(Predictor.load(plain_model_file)) as address, browser.new_context() as context:
        page = context.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        choose(page, NORMAL)
        wait_done(page, 1)
        expect(page.locator(".verdict-class")).to_have_text("Normal")
        expect(page.locator(".prevalence, .point")).to_have_count(0)
        expect(page.locator(".points")).to_be_hidden()
        expect(page.get_by_role("slider")).to_have_count(1)  # the map's
        assert "PPV" not in page.locator("body").inner_text()
        assert problems == []
