"""Downloads against a real HTTP server in a thread."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from covidcxr.data import download as module
from covidcxr.data.download import check_files, download, fetch, tree_sha256, unpack
from covidcxr.data.sources import SOURCES, GitHubArchive
from covidcxr.errors import DownloadError
from support.ports import free_port

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BODY = bytes(range(256)) * 20_000


class Server(ThreadingHTTPServer):
    """Serves the same bytes under every path.

    Attributes:
        body: What it serves.
        cuts: How many of the next answers break off in the middle.
        length: Whether it says how long the answer is; without, it sends chunks, as GitHub does for archives.
        failures: How many of the next answers are a 503.
        seen: Status code of every answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.length = BODY, True
        self.cuts = self.failures = 0
        self.seen: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        status, body = (503, b"") if server.failures else (200, server.body)
        server.failures = max(server.failures - 1, 0)
        server.seen.append(status)
        self.send_response(status)
        self.send_header(*(("Content-Length", str(len(body))) if server.length else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        cut, server.cuts = server.cuts > 0, max(server.cuts - 1, 0)
        sent = body[: len(body) // 2] if cut else body
        for piece in (sent[at : at + 65_536] for at in range(0, len(sent), 65_536)):
            self.wfile.write(piece if server.length else f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if not server.length and not cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = cut


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive_of(files: dict[str, bytes], comment: str = COMMIT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.comment = comment.encode()
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 90).save(buffer, "PNG")
    return buffer.getvalue()


METADATA = b"patientid,sex,age,finding,view,imagename\nP1,,,COVID-19,PA,a.png\n"


def source_of(**changes: object):
    """The source actualmed as if its repository held one picture."""
    content = {"metadata.csv": hashlib.sha256(METADATA).hexdigest()}
    archive = GitHubArchive(repo="somebody/something", commit=COMMIT, content=content)
    return replace(SOURCES["actualmed"], download=replace(archive, **changes))


def collection(**more: bytes) -> bytes:
    return archive_of({"top/metadata.csv": METADATA, "top/images/a.png": picture(), **more})


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Let pooch try again at once."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)


def test_a_whole_file(server, tmp_path):
    fetch(server.url, tmp_path / "file", sha256=hashlib.sha256(BODY).hexdigest())
    assert (tmp_path / "file").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_a_connection_that_breaks_is_tried_again_and_then_an_error(server, tmp_path, length):
    server.cuts, server.length = 2, length
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.seen == [200, 200, 200]
    server.cuts = 3
    with pytest.raises(DownloadError, match=f"Cannot download {server.url}"):
        fetch(server.url, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match=f"Expected sha256 {'0' * 64} from {server.url}"):
        fetch(server.url, tmp_path / "file", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_tried_again_and_none_is_an_error(server, tmp_path):
    server.failures = 2
    fetch(server.url, tmp_path / "file")
    assert server.seen == [503, 503, 200]
    closed = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DownloadError, match=f"Cannot download {closed}"):
        fetch(closed, tmp_path / "other")


def test_a_collection_appears_whole_and_is_fetched_once(server, tmp_path):
    server.body, server.cuts = collection(), 1
    assert download(source_of(), tmp_path, github=server.url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["actualmed", "actualmed.download.json"]
    assert (tmp_path / "actualmed" / "metadata.csv").read_bytes() == METADATA
    record = json.loads((tmp_path / "actualmed.download.json").read_text())
    assert record["archive_sha256"] == hashlib.sha256(server.body).hexdigest()
    assert record["files_sha256"] == tree_sha256(tmp_path / "actualmed")
    before = len(server.seen)
    assert not download(source_of(), tmp_path, github=server.url)
    assert len(server.seen) == before


@pytest.mark.parametrize(
    ("body", "changes", "message"),
    [
        (collection(), {"sha256": "0" * 64}, "Expected sha256"),
        (collection(), {"content": {"metadata.csv": "0" * 64}}, "Expected metadata.csv with sha256"),
        (collection(), {"content": {"absent.csv": "0" * 64}}, "no such file"),
        (archive_of({"top/metadata.csv": METADATA}, comment="f" * 40), {}, f"Expected commit {COMMIT}"),
        (archive_of({"top/metadata.csv": METADATA}), {}, "Expected images"),
        (collection()[:-400], {}, "Expected an intact zip file"),
        (b"<html>busy</html>", {}, "Expected an intact zip file"),
    ],
    ids=["archive hash", "file hash", "file missing", "commit", "no pictures", "broken zip", "no zip"],
)
def test_anything_else_than_expected_leaves_nothing(server, tmp_path, body, changes, message):
    server.body = body
    with pytest.raises(DownloadError, match=message):
        download(source_of(**changes), tmp_path, github=server.url)
    assert list(tmp_path.iterdir()) == []


def test_other_files_than_the_first_time_are_refused(server, tmp_path):
    server.body = collection()
    download(source_of(), tmp_path, github=server.url)
    (tmp_path / "actualmed").rename(tmp_path / "moved")
    server.body = collection(**{"top/images/b.png": picture()})
    with pytest.raises(DownloadError, match="Expected the same files as in the earlier download"):
        download(source_of(), tmp_path, github=server.url)
    assert not (tmp_path / "actualmed").exists()


@pytest.mark.parametrize("name", ["top/../../escaped", "/top/escaped", "top/..\\escaped", "top/c:/escaped"])
def test_a_member_outside_the_folder_is_refused(tmp_path, name):
    archive = tmp_path / "a" / "archive.zip"
    archive.parent.mkdir()
    archive.write_bytes(archive_of({"top/fine": b"1", name: b"2"}))
    with pytest.raises(DownloadError, match="Expected plain files"):
        unpack(archive, tmp_path / "a" / "target", commit=COMMIT)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"archive.zip", "fine"}
    assert not (tmp_path / "escaped").exists()


def test_a_link_in_the_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("top/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as zipped:
        zipped.comment = COMMIT.encode()
        zipped.writestr(link, "/etc")
    with pytest.raises(DownloadError, match="Expected plain files"):
        unpack(tmp_path / "archive.zip", tmp_path / "target", commit=COMMIT)


@pytest.mark.parametrize(
    ("header", "place", "bits"),
    [(b"PK\x03\x04", 41, 6), (b"PK\x01\x02", 10, 99), (b"PK\x01\x02", 51, 255), (b"PK\x01\x02", 8, 1)],
    ids=["stream", "method", "name", "encrypted"],
)
def test_a_damaged_archive_is_refused(tmp_path, header, place, bits):
    """Places as in APPNOTE.TXT 4.3.7 and 4.3.12; what zipfile raises differs for each."""
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.comment = COMMIT.encode()
        zipped.writestr("repo/ü.txt", bytes(range(256)) * 4)
    content = bytearray(archive.read_bytes())
    content[content.rindex(header) + place] ^= bits
    archive.write_bytes(content)
    with pytest.raises(DownloadError, match=r"Expected an intact zip file of .*archive\.zip"):
        unpack(archive, tmp_path / "target", commit=COMMIT)


def test_one_hash_for_a_folder_sees_names_and_content(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    first = tree_sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = tree_sha256(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, second, tree_sha256(tmp_path)}) == 3
    check_files(tmp_path, {"b": hashlib.sha256(b"2").hexdigest()})


KAGGLE_TEST_PORT = 7777
"""Where Kaggle's own client looks for the server when KAGGLE_API_ENVIRONMENT is TEST."""


class KaggleHandler(BaseHTTPRequestHandler):
    """Answers the client's request for a data set with a zip file, any other with 404."""

    body = archive_of({"chest_xray/train/NORMAL/IM-0001-0001.jpeg": picture()}, comment="")
    asked: list[str] = []  # noqa: RUF012 - the tests read it from the class, the server makes the instances

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        found = "DownloadDataset" in self.path
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.body) if found else 0))
        self.end_headers()
        self.wfile.write(self.body if found else b"")


@pytest.fixture
def kaggle(monkeypatch) -> Iterator[type[KaggleHandler]]:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    try:
        running = ThreadingHTTPServer(("localhost", KAGGLE_TEST_PORT), KaggleHandler)
    except OSError:
        pytest.skip(f"port {KAGGLE_TEST_PORT} is in use")
    with running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}).start()
        KaggleHandler.asked.clear()
        yield KaggleHandler
        running.shutdown()


def test_kaggle_sets_come_through_its_own_client(kaggle, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    assert download(SOURCES["kermany"], tmp_path)
    assert '"datasetVersionNumber": 2' in kaggle.asked[0] or '"datasetVersionNumber":2' in kaggle.asked[0]
    assert (tmp_path / "chest-xray-pneumonia" / "chest_xray" / "train" / "NORMAL" / "IM-0001-0001.jpeg").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chest-xray-pneumonia",
        "chest-xray-pneumonia.download.json",
    ]
    assert "KAGGLEHUB_CACHE" not in module.os.environ


def test_no_answer_from_kaggle_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    with pytest.raises(DownloadError, match="Create an API token"):
        download(SOURCES["radiography"], tmp_path)
    assert not (tmp_path / "COVID-19_Radiography_Dataset").exists()
