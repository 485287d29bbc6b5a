import base64
import io
import json
import logging
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr import DISCLAIMER
from covidcxr.images.decode import SUFFIXES, decode_image, read_image
from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.labels import Label
from covidcxr.web.api.predictions import PREVIEW_SIDE
from covidcxr.web.app import create_app
from support.uploads import MULTIPART, dicom, multipart, picture

API = "/api/v1/predictions"
PROBLEM = {"type", "title", "status", "detail", "instance", "request_id"}
GREY = radiograph(np.random.default_rng(0), size=(240, 200), opacities=[Opacity(x=0.3, y=0.5, radius=0.1)])
PNG = picture(GREY)


@pytest.fixture(scope="module")
def app(predictor):
    return create_app(predictor, max_upload_mb=8, max_files=5)


@pytest.fixture
def client(app):
    return app.test_client()


def post(client, *files, query="", fields=()):
    """Upload (name, bytes) pairs in the field ``file``."""
    return client.post(API + query, data=multipart(files, fields), content_type=MULTIPART)


def png_header(width, height):
    """Return a PNG of that size by its header, with a few bytes of pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_the_objects_are_those_of_the_predictor_in_the_order_of_the_files(client, predictor):
    bright = np.maximum(GREY, 180)
    files = [("first.png", PNG), ("b/second.jpg", picture(bright, "JPEG")), ("third.dcm", dicom(GREY))]
    answer = post(client, *files)
    expected = [predictor.predict(decode_image(content, name)).to_dict(name) for name, content in files]
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.get_data(as_text=True).strip() == json.dumps(expected, separators=(",", ":"))
    assert [item["label"] for item in answer.json] == ["normal", "covid", "normal"]


@pytest.mark.parametrize("how", ["query", "form", "two fields"])
def test_include_adds_the_map_and_a_preview(client, predictor, how):
    if how == "query":
        answer = post(client, ("a.png", PNG), query="?include=activation_map,preview")
    elif how == "form":
        answer = post(client, ("a.png", PNG), fields=[("include", "preview, activation_map")])
    else:
        answer = post(client, ("a.png", PNG), fields=[("include", "preview"), ("include", "activation_map")])
    (item,) = answer.json
    activation_map = predictor.predict(GREY).activation_map
    assert np.abs(np.array(item["activation_map"]["values"]) - activation_map.values).max() <= 0.5e-4
    assert np.abs(np.array(item["activation_map"]["contrast"]) - activation_map.contrast).max() <= 0.5e-4
    assert item["activation_map"]["box"] == list(activation_map.box)
    kind, _, data = item["preview"].partition(",")
    assert kind == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), GREY)


def test_previews_are_at_most_so_large_and_upright(client):
    grey = radiograph(np.random.default_rng(1), size=(1500, 1200))
    (item,) = post(client, ("a.dcm", dicom(grey)), fields=[("include", "preview")]).json
    assert "activation_map" not in item
    preview = np.asarray(Image.open(io.BytesIO(base64.b64decode(item["preview"].partition(",")[2]))))
    assert preview.shape == (PREVIEW_SIDE, round(PREVIEW_SIDE * 1200 / 1500))
    small = Image.fromarray(grey).resize(preview.shape[::-1], Image.Resampling.BICUBIC)
    assert np.abs(preview.astype(int) - np.asarray(small)).mean() < 4


def test_an_image_the_model_declines_has_no_map(client):
    (item,) = post(
        client, ("flat.png", picture(np.full((90, 90), 7, np.uint8))), fields=[("include", "activation_map")]
    ).json
    assert item["abstained"]
    assert item["label"] is None
    assert item["activation_map"] is None
    assert "uniform" in item["reason"]


def test_one_bad_file_does_not_spoil_the_others(client):
    answer = post(client, ("a.png", PNG), ("notes.txt", b"no picture"), ("", PNG), ("b.png", PNG))
    assert answer.status_code == 200
    assert [item["path"] for item in answer.json] == ["a.png", "notes.txt", "", "b.png"]
    assert set(answer.json[1]) == {"path", "error"}
    assert answer.json[1]["error"].startswith(
        "Expected a PNG, JPEG, TIFF, BMP, WebP or DICOM image. Received notes.txt"
    )
    assert "Expected a file name" in answer.json[2]["error"]
    assert answer.json[3]["label"] == answer.json[0]["label"] == "normal"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text, not a picture",
        PNG[: len(PNG) // 2],
        dicom(GREY)[:2000],
        picture(GREY, "JPEG")[:500],
        png_header(60_000, 60_000),
        picture(np.full((8, 8), 9, np.uint8)),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
    ],
    ids=["0 bytes", "text", "truncated PNG", "truncated DICOM", "truncated JPEG", "bomb", "8 x 8", "SVG", "PDF"],
)
def test_a_file_that_is_no_image_is_refused_with_what_was_expected(client, content):
    answer = post(client, ("bad.bin", content))
    assert answer.status_code == 422
    assert answer.json["detail"].startswith("Expected")
    assert "bad.bin" in answer.json["detail"]
    assert answer.json["files"] == [{"path": "bad.bin", "error": answer.json["detail"]}]


def test_several_files_that_are_no_images_are_refused_one_by_one(client):
    answer = post(client, ("a.txt", b"a"), ("b.txt", b""))
    assert answer.status_code == 422
    assert answer.json["detail"] == "None of the 2 files is an image."
    assert ["a.txt" in answer.json["files"][0]["error"], "b.txt" in answer.json["files"][1]["error"]] == [True, True]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"data": {}, "content_type": "multipart/form-data"}, "in the field 'file'. Received none"),
        ({"data": {"image": (io.BytesIO(PNG), "a.png")}}, "in the field 'file'. Received none"),
        ({"data": {"file": (io.BytesIO(b""), "")}}, "Received an empty file name"),
        ({"data": {"file": [(io.BytesIO(PNG), f"{i}.png") for i in range(6)]}}, "Expected at most 5 images"),
        ({"data": {"file": (io.BytesIO(PNG), "a.png"), "include": "preview,map"}}, "Received map"),
        ({"data": PNG, "content_type": "image/png"}, "Expected multipart/form-data. Received image/png"),
        ({"data": {"file": "text field"}, "content_type": "application/x-www-form-urlencoded"}, "multipart/form-data"),
        ({"data": b""}, "Expected multipart/form-data. Received no content type"),
        ({"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"}, "Received none"),
        ({"data": PNG, "content_type": "multipart/form-data"}, "Received none"),
    ],
    ids=[
        "empty",
        "other field",
        "no name",
        "too many",
        "include",
        "raw",
        "urlencoded",
        "nothing",
        "broken",
        "boundary",
    ],
)
def test_a_request_that_is_not_as_expected_is_refused(client, request_, message):
    answer = client.post(API, **request_)
    assert answer.status_code == 400
    assert set(answer.json) == PROBLEM
    assert message in answer.json["detail"]
    assert answer.json["detail"].startswith("Expected")


def test_a_request_over_the_limits_is_refused(client):
    too_large = post(client, ("a.png", bytes(8 * 2**20)))
    too_many_parts = post(client, *[(f"{i}.png", PNG) for i in range(40)])
    for answer in (too_large, too_many_parts):
        assert answer.status_code == 413
        assert answer.json["detail"].startswith("Expected at most 8 MB and 13 parts in one request.")
    assert post(client, ("a.png", PNG + bytes(8 * 2**20 - len(PNG) - 1000))).status_code == 200


def test_errors_are_problem_details(client):
    missing = client.get("/api/v2/nothing?name=Doe")
    method = client.get(API)
    inference = client.post("/v2/models/other/infer", json={})
    assert (missing.status_code, method.status_code, inference.status_code) == (404, 405, 404)
    assert method.headers["Allow"] == "OPTIONS, POST" or method.headers["Allow"] == "POST, OPTIONS"
    for answer in (missing, method, inference):
        assert answer.content_type == "application/problem+json"
        assert answer.json["type"] == "about:blank"
        assert answer.json["status"] == answer.status_code
        assert answer.json["title"] == HTTPStatus(answer.status_code).phrase
        assert answer.json["detail"].startswith("Expected")
        assert answer.json["request_id"] == answer.headers["X-Request-ID"]
    assert missing.json["instance"] == "/api/v2/nothing"
    assert method.json["detail"] == "Expected the method POST. Received GET."
    assert inference.json["error"] == inference.json["detail"]  # as the Open Inference Protocol has it
    assert set(missing.json) == PROBLEM


@pytest.mark.parametrize("path", ["/nothing", "/static/nothing.css", "/samples/nothing"])
def test_an_address_of_no_page_gets_a_page_that_leads_home(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    page = answer.get_data(as_text=True)
    assert DISCLAIMER in page
    assert '<a href="/">Go to the page for images</a>' in page
    assert 'href="/static/page.css"' in page


class Failing:
    """A predictor with a bug."""

    model = "failing@0"

    def predict(self, grey):
        raise RuntimeError("bug")


def test_a_failure_of_the_server_is_json_and_its_log_does_not_name_the_file(caplog):
    client = create_app(Failing()).test_client()
    with caplog.at_level(logging.DEBUG):
        answer = post(client, ("Jane Doe.png", PNG), ("John Doe.txt", b"x"))
    assert answer.status_code == 500
    assert answer.json["detail"] == "The server failed to answer this request. Nothing of the upload was kept."
    assert "RuntimeError: bug" in caplog.text
    assert "Doe" not in caplog.text


def test_health(client, predictor):
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "model": predictor.model}


class TwoClasses:
    """A predictor of the classes of the classic recipe, under a name that a page must escape."""

    def __init__(self, predictor):
        self.model = "<b>two</b>@0"
        self.artifact = replace(
            predictor.artifact, labels=(Label.NORMAL, Label.COVID), intended_use="Nothing & no one."
        )


def test_the_page_is_about_the_model_in_use(predictor):
    page = create_app(TwoClasses(predictor), max_upload_mb=7).test_client().get("/").get_data(as_text=True)
    assert re.findall(r'data-label="(\w+)"', page) == ["normal", "covid"]
    assert "Normal and COVID-19" in re.sub(r"<[^>]+>", "", page)
    assert "Other pneumonia" not in page
    assert "&lt;b&gt;two&lt;/b&gt;@0" in page
    assert "Nothing &amp; no one." in page
    assert "up to 7 MB each" in page
    assert re.search(r"<script(?! type=.module. src=)|<style| style=| on[a-z]+=|https?://(?!localhost)", page) is None


@pytest.mark.parametrize("path", ["/", "/healthz", API, "/static/page.js", "/nothing"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path, buffered=True).headers
    policy = dict(part.split(maxsplit=1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert policy["img-src"] == "'self' blob: data:"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers
    assert (headers.get("Cache-Control") == "no-store") == path.startswith("/api/")


def test_file_names_are_only_ever_text(client):
    names = ["../../etc/passwd", "/dev/null", "<img src=x onerror=alert(1)>.png", "Röntgen 1.png", "a" * 300 + ".png"]
    answer = post(client, *[(name, PNG) for name in names])
    assert [item["path"] for item in answer.json] == names
    assert {item["label"] for item in answer.json} == {"normal"}


UPLOAD_UNDER_AUDIT = """
import json, os, sys
from pathlib import Path
from flask import Request
from covidcxr.prediction.predictor import Predictor
from covidcxr.web.app import CovidCxr, create_app

if sys.argv[2] == "spooled":
    CovidCxr.request_class = Request
client = create_app(Predictor.load(Path(sys.argv[1]))).test_client()
body = sys.stdin.buffer.read()
written = []

def audit(event, args):
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(str(args[0]))

sys.addaudithook(audit)
answer = client.post(
    "/api/v1/predictions?include=activation_map,preview",
    data=body,
    content_type=sys.argv[3],
)
print(json.dumps({"status": answer.status_code, "written": written}))
"""


@pytest.mark.parametrize("requests", ["in memory", "spooled"])
def test_nothing_uploaded_is_written_to_disk(model_file, requests):
    """Every opening of a file for writing is watched, and werkzeug's own way shows that the watch would see it."""
    grey = np.random.default_rng(2).integers(0, 128, (2300, 2300), np.uint8)
    files = [("a.png", picture(grey)), ("b.dcm", dicom(grey))]
    assert min(len(content) for _, content in files) > 4_000_000
    script = [sys.executable, "-B", "-c", UPLOAD_UNDER_AUDIT, str(model_file), requests, MULTIPART]
    done = subprocess.run(script, input=multipart(files), capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert bool(result["written"]) == (requests == "spooled"), result
    assert result["status"] == 200 or requests == "spooled"


def test_requests_at_the_same_time_get_their_own_answers(predictor):
    images = [picture(radiograph(np.random.default_rng(i), size=(96 + i, 80))) for i in range(16)]
    expected = [predictor.predict(decode_image(content, "")).probabilities for content in images]
    app = create_app(predictor)

    def ask(number):
        (item,) = post(app.test_client(), (f"{number}.png", images[number % 16])).json
        return item

    with ThreadPoolExecutor(8) as pool:
        items = list(pool.map(ask, range(64)))
    for number, item in enumerate(items):
        assert item["path"] == f"{number}.png"
        assert item["probabilities"] == pytest.approx({str(k): v for k, v in expected[number % 16].items()}, abs=1e-6)


class Counting:
    """A predictor that counts how many predictions run at a time."""

    def __init__(self, predictor):
        self.predictor, self.model = predictor, predictor.model
        self.now = self.most = 0
        self.lock = threading.Lock()

    def predict(self, grey):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        return self.predictor.predict(grey)


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_images_are_worked_on_at_a_time(predictor, parallel):
    counting = Counting(predictor)
    app = create_app(counting, parallel=parallel)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: post(app.test_client(), ("a.png", PNG)).status_code, range(16)))
    assert set(statuses) == {200}
    assert counting.most == parallel


@pytest.mark.parametrize("limit", ["max_upload_mb", "max_files"])
def test_limits_are_at_least_one(predictor, limit):
    with pytest.raises(ValueError, match="at least 1"):
        create_app(predictor, **{limit: 0})
    with pytest.raises(ValueError, match="at least 1"):
        create_app(predictor, parallel=0)


@pytest.mark.real_data
def test_a_real_image_of_every_collection_and_both_dicom_files(client, predictor, data_root):
    collections = [folder for folder in sorted(data_root.iterdir()) if folder.is_dir() and "masks" not in folder.name]
    paths = [next(path for path in sorted(folder.rglob("*")) if is_image(path)) for folder in collections]
    paths += sorted((data_root / "dicom").glob("*.dcm"))
    assert len(paths) >= 9 + 1
    for path in paths:
        (item,) = post(client, (path.name, path.read_bytes()), query="?include=activation_map,preview").json
        grey = read_image(path)
        expected = predictor.predict(grey)
        assert item["label"] == expected.label, path
        assert item["probabilities"] == {str(k): v for k, v in expected.probabilities.items()}
        assert np.shape(item["activation_map"]["values"]) == (7, 7)
        preview = Image.open(io.BytesIO(base64.b64decode(item["preview"].partition(",")[2])))
        assert abs(preview.width / preview.height - grey.shape[1] / grey.shape[0]) < 0.01


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and "masks" not in str(path)
