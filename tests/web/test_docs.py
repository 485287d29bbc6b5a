import numpy as np
import pytest
from playwright.sync_api import expect

from covidcxr import DISCLAIMER
from covidcxr.images.phantom import radiograph
from covidcxr.web.app import create_app
from support.serving import hosting
from support.uploads import picture

IMAGE = {
    "name": "a.png",
    "mimeType": "image/png",
    "buffer": picture(radiograph(np.random.default_rng(0), size=(240, 200))),
}
FILE_FIELD = "Could not find component: JsonSchema_string_binary"
"""What Swagger UI says of every field for a file, before it shows one."""


@pytest.fixture
def client(predictor):
    return create_app(predictor).test_client()


def test_only_what_the_page_needs_is_served(client):
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        assert client.get(f"/api/v1/docs/{name}", buffered=True).status_code == 200
    for name in ("oauth2-redirect.html", "..%2f__init__.py", "nothing.js"):
        assert client.get(f"/api/v1/docs/{name}").status_code == 404


def test_the_page_holds_no_script_of_its_own(client):
    page = client.get("/api/v1/docs").get_data(as_text=True)
    assert DISCLAIMER in page
    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=") == 2
    assert "http" not in page.replace("https://127", "")


@pytest.mark.slow
def test_the_page_shows_the_interfaces_under_the_strict_policy(predictor, browser):
    """A browser tells of whatever its Content-Security-Policy forbids, and of every request to another host."""
    problems = []
    with hosting(create_app(predictor)) as address:
        page = browser.new_page()
        page.on("console", lambda line: line.text == FILE_FIELD or problems.append(line.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda call: call.url.startswith((address, "data:")) or problems.append(call.url))
        page.goto(address)
        page.get_by_role("link", name="all APIs").click()
        expect(page.get_by_text(DISCLAIMER)).to_have_count(1)
        expect(page.get_by_text(DISCLAIMER)).to_be_visible()
        expect(page.get_by_text("Score one or more images")).to_be_visible()
        for name, received in {
            "operation-readyz": predictor.model,
            "predictions-predictions": '"label": "normal"',
            "inference-v2Infer": '"model_name": "covidcxr"',
        }.items():
            operation = page.locator(f"#operations-{name}")
            operation.locator(".opblock-summary-control").click()
            operation.get_by_role("button", name="Try it out").click()
            for field in operation.locator("input[type=file]").all():
                field.set_input_files(IMAGE)
            operation.get_by_role("button", name="Execute").click()
            expect(operation.locator(".live-responses-table")).to_contain_text(received)
        page.get_by_role("link", name="Go to the page for images").click()
        expect(page.locator("#drop")).to_be_visible()
        page.close()
    assert problems == []
