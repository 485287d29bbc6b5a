import hashlib
import http.server
import threading

import numpy as np
import pytest
from playwright.sync_api import expect

from covidcxr.errors import DownloadError
from covidcxr.images.decode import decode_image
from covidcxr.web.app import create_app
from covidcxr.web.jobs import LocalEngine
from covidcxr.web.pages.pages import SAMPLES_URL
from covidcxr.web.pages.samples import BASE, MAX_BYTES, SAMPLES, Gallery, Sample, draw
from support.browsing import GREY, choose, serving, wait_done
from support.uploads import picture

PHOTO = picture(GREY, "JPEG")


class Collection(http.server.ThreadingHTTPServer):
    """A server with every file of the collection; ``asked`` for."""

    def __init__(self):
        self.asked, self.content, self.status = [], PHOTO, 200
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/images"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def collection():
    with Collection() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sample(**changes):
    values = {"name": "one", "file": "a b.jpg", "title": "t", "licence": "CC0", "credit": "c", "page": ""}
    return Sample(**values | changes)


def test_an_example_is_fetched_once(collection):
    gallery = Gallery(collection.url, (sample(),))
    assert gallery.reachable()
    assert gallery.fetch("one") == (PHOTO, "image/jpeg")
    assert collection.asked == ["/images/a%20b.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": 404}, "404"),
        ({"content": b"<html>sign in"}, "Expected a PNG or JPEG"),
        ({"content": b"\xff\xd8\xff" + bytes(MAX_BYTES)}, "Expected a PNG or JPEG"),
    ],
)
def test_what_is_no_picture_of_the_collection_is_not_passed_on(collection, changes, message):
    vars(collection).update(changes)
    gallery = Gallery(collection.url, (sample(),))
    with pytest.raises(DownloadError, match=message):
        gallery.fetch("one")
    assert not gallery.reachable()


def test_a_recorded_hash_is_checked(collection):
    assert Gallery(collection.url, (sample(sha256=hashlib.sha256(PHOTO).hexdigest()),)).reachable()
    with pytest.raises(DownloadError, match="Expected sha256 0000"):
        Gallery(collection.url, (sample(sha256="0" * 64),)).fetch("one")


def test_a_server_that_is_not_there_is_told():
    gallery = Gallery("http://127.0.0.1:9", (sample(),))
    assert not gallery.reachable()
    with pytest.raises(DownloadError, match=r"Expected the example http://127\.0\.0\.1:9/a%20b\.jpg"):
        gallery.fetch("one")


def test_every_example_names_its_author_licence_and_place_at_a_pinned_commit():
    assert len({example.name for example in SAMPLES}) == len(SAMPLES) >= 4
    for example in SAMPLES:
        assert example.licence.startswith("CC BY")
        assert "Case courtesy of" in example.credit
        assert example.page.startswith("https://radiopaedia.org/cases/")
    assert "/6a4242344473ccb5ed0d2148d8c7bfb1691e4ed8/" in BASE


def test_the_drawing_is_a_radiograph_of_nobody():
    grey = decode_image(draw(), "drawing")
    assert grey.shape == (720, 640)
    assert grey.std() > 30


def test_addresses_of_examples(predictor, collection):
    app = create_app(LocalEngine(predictor))
    app.config[SAMPLES_URL] = collection.url
    client = app.test_client()
    assert client.get("/samples/drawing").data == draw()
    assert client.get("/samples/nobody").status_code == 404
    assert client.get(f"/samples/{SAMPLES[0].name}").mimetype == "image/jpeg"
    collection.status = 500
    assert client.get(f"/samples/{SAMPLES[1].name}").status_code == 502
    app.config[SAMPLES_URL] = ""
    assert client.get(f"/samples/{SAMPLES[0].name}").status_code == 404


def test_whoever_runs_the_server_can_keep_it_from_fetching(predictor, monkeypatch):
    assert create_app(LocalEngine(predictor)).config[SAMPLES_URL] == BASE
    monkeypatch.setenv("COVIDCXR_SAMPLES_URL", "")
    answer = create_app(LocalEngine(predictor)).test_client().get("/samples").json
    assert answer["reachable"] is False
    assert [sample["title"] for sample in answer["samples"]] == ["A drawing"]


@pytest.mark.slow
def test_examples_are_fetched_when_somebody_looks_and_scored_when_somebody_chooses(open_page, predictor, collection):
    with serving(predictor, collection.url) as address:
        page = open_page(address)
        choose(page, ("x.png", picture(GREY)))
        wait_done(page, 1)
        assert collection.asked == []
        page.get_by_text("Try an example").click()
        items = page.locator(".sample")
        expect(items).to_have_count(len(SAMPLES) + 1)
        for item, example in zip(items.all(), SAMPLES, strict=False):
            expect(item).to_contain_text(example.title)
            expect(item).to_contain_text(f"{example.credit} {example.licence}.")
            expect(item.get_by_role("link", name="Source")).to_have_attribute("href", example.page)
        expect(page.locator("#samples-note")).to_contain_text("fetched by the server")
        items.first.get_by_role("button").click()
        wait_done(page, 2)
        expect(page.locator(".card h3").last).to_have_text(SAMPLES[0].file)
        expect(page.locator(".card .verdict-class").last).to_have_text("Normal")
        assert sorted(set(collection.asked)) == sorted(collection.asked)


@pytest.mark.slow
def test_without_the_collection_the_gallery_says_so_and_offers_a_drawing(page):
    page.get_by_text("Try an example").click()
    expect(page.locator("#samples-note")).to_contain_text("cannot reach the collection")
    expect(page.locator(".sample")).to_have_count(1)
    page.get_by_role("button", name="A drawing").click()
    wait_done(page, 1)
    expect(page.locator(".card .verdict-class")).to_be_visible()
    assert np.ptp(decode_image(draw(), "")) > 200
