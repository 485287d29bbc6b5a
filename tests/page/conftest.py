import pytest

from covidcxr.prediction.predictor import Predictor
from support.browsing import serving


@pytest.fixture(scope="module")
def address(predictor):
    with serving(predictor) as address:
        yield address


@pytest.fixture
def open_page(browser, address):
    """Opens a page in a fresh browser profile; at the end nothing may have gone wrong or anywhere else."""
    contexts, problems = [], []

    def open_(at=address, path="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda line: is_expected(line) or problems.append(line.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda call: call.url.startswith((at, "blob:", "data:")) or problems.append(call.url))
        page.goto(at + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def is_expected(line):
    """Tell the browser's own lines about refused uploads, pages and files gone, and the tests' looks at the canvas.

    And about examples that are being downloaded.
    """
    if line.location["url"].endswith("/samples"):
        return "503" in line.text
    expected = ("willReadFrequently", "ERR_FILE_NOT_FOUND")
    return line.location["url"].endswith(("/predictions", "/report.pdf", "/report.dcm", "/nothing")) or any(
        part in line.text for part in expected
    )


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture(scope="module")
def lung_address(lung_model_file):
    with serving(Predictor.load(lung_model_file)) as address:
        yield address
