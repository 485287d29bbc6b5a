import hashlib
import http.server
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import numpy as np
import pytest
from playwright.sync_api import expect

from covidcxr.images.decode import decode_image
from covidcxr.web.app import create_app
from covidcxr.web.pages import samples
from covidcxr.web.pages.pages import SAMPLES_URL
from covidcxr.web.pages.samples import BASE, MAX_BYTES, SAMPLES, Gallery, PublishedSample, draw
from support.browsing import GREY, choose, serving, wait_done
from support.processes import eventually
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


@pytest.fixture
def silent():
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def black_hole():
    """An address that drops packets, as behind a firewall: the queue of its socket is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            with suppress(BlockingIOError):
                filling.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def sample(**changes):
    values = {"name": "one", "file": "a b.jpg", "title": "t", "licence": "CC0", "credit": "c", "page": ""}
    return PublishedSample(**values | changes)


def settled(gallery):
    """Start the downloads of a gallery and wait for their end."""
    eventually(lambda: not gallery.fetch())
    return gallery


def test_an_example_is_downloaded_once(collection):
    gallery = settled(Gallery(collection.url, (sample(),)))
    assert gallery.get("one") == (PHOTO, "image/jpeg")
    settled(gallery)
    assert collection.asked == ["/images/a%20b.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": 404}, "404"),
        ({"content": b"<html>sign in"}, "Expected a PNG or JPEG"),
        ({"content": b"\xff\xd8\xff" + bytes(MAX_BYTES)}, "Expected a PNG or JPEG"),
    ],
)
def test_what_is_no_picture_of_the_collection_is_not_passed_on(collection, caplog, changes, message):
    vars(collection).update(changes)
    assert settled(Gallery(collection.url, (sample(),))).get("one") is None
    assert message in caplog.text


def test_a_recorded_hash_is_checked(collection, caplog):
    assert settled(Gallery(collection.url, (sample(sha256=hashlib.sha256(PHOTO).hexdigest()),))).get("one")
    assert settled(Gallery(collection.url, (sample(sha256="0" * 64),))).get("one") is None
    assert "Expected sha256 0000" in caplog.text


def test_a_failure_is_logged_and_remembered_for_a_while(collection, caplog, monkeypatch):
    collection.status = 500
    gallery = settled(Gallery(collection.url, (sample(),)))
    assert f"Cannot download the example {collection.url}/a%20b.jpg: HTTP Error 500" in caplog.text
    collection.status = 200
    assert settled(gallery).get("one") is None
    assert len(collection.asked) == 1
    monkeypatch.setattr(samples, "RETRY_AFTER", 0.0)
    gallery.fetch()
    monkeypatch.setattr(samples, "RETRY_AFTER", 300.0)
    assert settled(gallery).get("one")


@pytest.mark.parametrize("kind", ["silent", "black_hole"])
def test_a_collection_that_never_answers_holds_no_request(predictor, request, monkeypatch, kind):
    """Six requests at a time, as of six people behind a firewall that drops packets."""
    monkeypatch.setattr(Gallery.__init__, "__defaults__", (BASE, SAMPLES, 1.0))
    app = create_app(predictor)
    app.config[SAMPLES_URL] = request.getfixturevalue(kind)
    paths = ["/samples", f"/samples/{SAMPLES[0].name}"] * 3
    begun = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda path: app.test_client().get(path), paths))
    assert time.monotonic() - begun < 0.9
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 6
    client = app.test_client()
    answer = eventually(lambda: (now := client.get("/samples")).status_code == 200 and now)
    assert answer.json["reachable"] is False
    assert [item["title"] for item in answer.json["samples"]] == ["A drawing"]
    assert client.get(paths[1]).status_code == 404


def test_a_collection_that_is_too_slow_is_given_up(silent, monkeypatch):
    monkeypatch.setattr(samples, "OVERDUE", 0.2)
    gallery = Gallery(silent, (sample(),), timeout=5)
    assert gallery.fetch()
    begun = time.monotonic()
    settled(gallery)
    assert time.monotonic() - begun < 4


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
    app = create_app(predictor)
    app.config[SAMPLES_URL] = collection.url
    client = app.test_client()
    assert client.get("/samples/drawing").data == draw()
    assert client.get("/samples/nobody").status_code == 404
    eventually(lambda: client.get("/samples").status_code == 200)
    assert client.get(f"/samples/{SAMPLES[0].name}").mimetype == "image/jpeg"
    app.config[SAMPLES_URL] = ""
    assert client.get(f"/samples/{SAMPLES[0].name}").status_code == 404


def test_whoever_runs_the_server_can_keep_it_from_fetching(predictor, monkeypatch):
    assert create_app(predictor).config[SAMPLES_URL] == BASE
    monkeypatch.setenv("COVIDCXR_SAMPLES_URL", "")
    answer = create_app(predictor).test_client().get("/samples").json
    assert answer["reachable"] is False
    assert [sample["title"] for sample in answer["samples"]] == ["A drawing"]


def test_examples_are_downloaded_when_the_gallery_opens_and_scored_when_chosen(open_page, predictor, collection):
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
        expect(page.locator("#samples-note")).to_contain_text("downloaded by the server")
        items.first.get_by_role("button").click()
        wait_done(page, 2)
        expect(page.locator(".card h3").last).to_have_text(SAMPLES[0].file)
        expect(page.locator(".card .verdict-class").last).to_have_text("Normal")
        assert sorted(set(collection.asked)) == sorted(collection.asked)


def test_without_the_collection_the_gallery_says_so_and_offers_a_drawing(page):
    page.get_by_text("Try an example").click()
    expect(page.locator("#samples-note")).to_contain_text("cannot reach the collection")
    expect(page.locator(".sample")).to_have_count(1)
    page.get_by_role("button", name="A drawing").click()
    wait_done(page, 1)
    expect(page.locator(".card .verdict-class")).to_be_visible()
    assert np.ptp(decode_image(draw(), "")) > 200
