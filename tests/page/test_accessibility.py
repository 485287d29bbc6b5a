import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from support.browsing import BRIGHT, RADIOGRAPH, TEXT, choose, serving, wait_done
from support.small_models import with_metadata

GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def judged_address(lung_model_file, tmp_path_factory):
    """The page of a tiny model that has everything a model can have."""
    shares = {"low": 0.8, "high": 1.0, "says": "It tells them apart without the lungs."}
    findings = tuple(Finding(test=f"{verdict}_test", verdict=verdict, value=0.9, **shares) for verdict in Verdict)
    conformal = Conformal(
        coverage=0.9, thresholds=(0.3, 0.3, 0.4), images=(9, 9, 9), scores=(0.0, 0.33), low=(0.1, 0.25), high=(0.2, 0.4)
    )
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=findings)
    path = with_metadata(
        lung_model_file, tmp_path_factory.mktemp("judged") / "m.onnx", conformal=conformal, audit=audit
    )
    with serving(Predictor.load(path)) as address:
        yield address


@pytest.fixture(params=[(s, w) for s in ("light", "dark") for w in (390, 1280)], ids=lambda p: f"{p[0]}-{p[1]}")
def page(open_page, judged_address, request):
    scheme, width = request.param
    size = {"width": width, "height": 844}
    return open_page(judged_address, color_scheme=scheme, viewport=size, reduced_motion="reduce")


def problems(page):
    """Return what axe-core finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [
        (violation["id"], node["html"][:200])
        for violation in found
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


def test_axe_notices_a_problem(page):
    page.evaluate("document.querySelector('#files').parentElement.replaceWith(document.createElement('input'))")
    assert problems(page)


def test_the_page_before_and_after_a_result(page):
    page.get_by_text("Try an example").click()
    expect(page.locator(".sample")).to_have_count(1)
    assert problems(page) == []
    page.get_by_label("Show patient data from the DICOM header").check()
    choose(page, RADIOGRAPH, TEXT, BRIGHT)
    wait_done(page, 3)
    for details in page.locator(".card details:visible > summary").all():
        details.click()
    assert problems(page) == []


def test_the_comparison(page):
    choose(page, RADIOGRAPH, BRIGHT)
    wait_done(page, 2)
    for box in page.locator(".picked").all():
        box.check()
    page.get_by_role("button", name="Compare two").click()
    expect(page.locator("#compare .pane .summary")).to_have_text([re.compile("Most like")] * 2)
    assert problems(page) == []


def test_the_page_that_is_not_there(page):
    page.goto(page.url + "nothing")
    page.get_by_role("link", name="Go to the page for images").click()
    expect(page.locator("#drop")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    assert problems(page) == []


def test_the_page_about_the_model(page):
    page.get_by_role("link", name="About the model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("About the model")
    assert problems(page) == []
