"""The page whose model runs in the browser gives what the server gives, and asks nobody else."""

import html
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from playwright.sync_api import expect

from covidcxr.cli import cli
from covidcxr.errors import CovidCxrError
from covidcxr.images.decode import decode_image
from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.prediction.predictor import Predictor
from covidcxr.web.static_site import RUNTIME, export_static
from support.browsing import choose, wait_done
from support.environment import program
from support.uploads import dicom, picture

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The shipped model's page, with the runtime that npm fetches."""
    program("npm")  # fetches onnxruntime-web
    out = tmp_path_factory.mktemp("static") / "site"
    result = CliRunner().invoke(cli, ["web", "export-static", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def static_address(site):
    """Serve the files, from a folder below the root as many hosts do."""
    handler = partial(Quiet, directory=str(site.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/site/"
    server.shutdown()
    thread.join()
    server.server_close()


def answers(page, files):
    """Return what the page says of (name, bytes) pairs, as it saves it."""
    choose(page, *files)
    wait_done(page, len(files))
    with page.expect_download() as download:
        page.get_by_role("button", name="All as JSON").click()
    return json.loads(download.value.path().read_bytes())


def same(ours, theirs):
    """Assert that two answers agree, numbers to TOLERANCE."""
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if name == "probabilities":
            assert ours[name] == pytest.approx(value, abs=TOLERANCE)
        elif name in ("interval", "lung_share"):
            assert ours[name] == (value if value is None else pytest.approx(value, abs=0.02)), name  # it has steps
        else:
            assert ours[name] == value, name


def pictures():
    rng = np.random.default_rng(3)
    spots = [Opacity(x=x, y=0.6, radius=0.08, strength=0.3) for x in (0.25, 0.75)]
    grey = radiograph(rng, size=(700, 620), opacities=spots)
    colour = np.stack([grey, grey // 2 + 60, grey], axis=-1)
    return [
        ("ill.png", picture(grey)),
        ("clear.jpg", picture(radiograph(rng, size=(900, 1000)), "JPEG", quality=90)),
        ("colour.jpg", picture(colour, "JPEG", quality=95)),
        ("noise.png", picture(rng.integers(0, 256, (300, 300)).astype(np.uint8))),
        ("flat.png", picture(np.full((200, 200), 90, np.uint8))),
        ("small.png", picture(grey[::10, ::10])),
    ]


def test_the_browser_gives_what_the_server_gives(open_page, static_address):
    predictor, files = Predictor.load(), pictures()
    expected = [predictor.predict(decode_image(content, name)).to_dict(name) for name, content in files]
    received = {answer["path"]: answer for answer in answers(open_page(static_address), files)}
    for theirs in json.loads(json.dumps(expected)):
        same(received[theirs["path"]], theirs)
    assert len({answer["reason"] for answer in received.values()}) >= 4, "answers and different reasons to decline"


@pytest.mark.real_data
def test_real_images(open_page, static_address, data_root):
    predictor = Predictor.load()
    folders = ("covid-cxnet", "nih-chestxray14", "chest-xray-pneumonia")
    paths = [path for folder in folders for path in sorted((data_root / folder).rglob("*.[jp][pn]*g"))[:3]]
    expected = [predictor.predict(decode_image(path.read_bytes(), path.name)).to_dict(path.name) for path in paths]
    received = answers(open_page(static_address), [(path.name, path.read_bytes()) for path in paths])
    by_name = {answer["path"]: answer for answer in received}
    for theirs in json.loads(json.dumps(expected)):
        same(by_name[theirs["path"]], theirs)
    assert len(expected) == 9


def test_a_card_shows_map_and_lungs_and_offers_no_pdf(open_page, static_address):
    page = open_page(static_address)
    choose(page, pictures()[0])
    wait_done(page, 1)
    card = page.locator(".card")
    expect(card.locator(".map")).to_be_visible()
    expect(card.locator(".outlined")).to_be_visible()
    expect(card.get_by_role("button", name="PDF")).to_be_hidden()
    expect(page.get_by_text("They never leave your browser")).to_be_visible()
    expect(page.locator("#patient")).to_be_hidden()
    expect(page.get_by_role("link", name="interfaces")).to_have_count(0)


def test_the_example_and_the_model_page_work_without_a_server(open_page, static_address):
    page = open_page(static_address)
    page.get_by_text("No radiograph at hand?").click()
    page.get_by_role("button", name="A drawing").click()
    wait_done(page, 1)
    page.get_by_role("link", name="About the model").click()
    expect(page.get_by_role("heading", name="Your images")).to_be_visible()
    expect(page.get_by_text("The model runs in your browser")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("plate.dcm", dicom(np.tile(np.arange(128, dtype=np.uint8), (128, 1))), "DICOM, which needs a server"),
        ("deep.png", picture(np.tile(np.arange(128, dtype=np.uint16) * 500, (128, 1))), "16 bits"),
        ("text.png", b"no picture", "another format"),
        ("tiny.png", picture(np.zeros((20, 40), np.uint8)), "40 x 20 pixels, below"),
    ],
)
def test_what_a_browser_cannot_read_is_refused_by_name(open_page, static_address, name, content, reason):
    page = open_page(static_address)
    choose(page, (name, content))
    expect(page.locator(".card .error")).to_contain_text(f"Received {name}: {reason}", timeout=60_000)


def test_a_folder_without_the_runtime_is_an_error(tmp_path):
    with pytest.raises(CovidCxrError, match=RUNTIME[0]):
        export_static(None, tmp_path / "out", tmp_path)


def test_no_npm_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CovidCxrError, match="--runtime"):
        export_static(None, tmp_path / "out", None)


def test_the_site_names_no_other_host(site):
    ours = [path for path in site.rglob("*") if path.suffix in (".html", ".js") and path.is_file()]
    assert len(ours) > 10
    page = Path(site / "index.html").read_text("utf-8")
    assert 'src="http' not in page
    assert "script-src 'self' 'wasm-unsafe-eval'" in html.unescape(page)
