import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dicomweb_client.api import DICOMwebClient

from covidcxr.cli.dicom import PASSWORD
from covidcxr.dicom.dicomweb import Search, TokenFile, WebPeer, client_of, find, pull
from covidcxr.dicom.node.queue import Queue, State
from covidcxr.dicom.node.work import PeerError, QueueScorer, ResultSender
from support.dicom_node import NAME, PATIENT_ID, chest, save, send
from support.orthanc import CONFIGURATION, orthanc
from support.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path):
    """An Orthanc with three radiographs of the chest, one of a hand and one of another day; its Lua finds no node."""
    with orthanc(tmp_path / "orthanc", free_port()) as running:
        images = [chest(number) for number in range(3)]
        images += [chest(3, BodyPartExamined="HAND"), chest(4, StudyDate="20250101", StudyInstanceUID="2.25.78")]
        files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(images)]
        assert send(running.dicom_port, *files, called="ORTHANC").returncode == 0
        yield running


def command(server, folder, model, *options, password=None):
    """Run ``covidcxr dicom pull``; return the finished process. Without ``password`` there is none."""
    line = [sys.executable, "-m", "covidcxr", "dicom", "pull", "--dicomweb", f"{server.url}/dicom-web"]
    line += ["--queue", folder, "--model", model, *options]
    environment = os.environ | ({PASSWORD: password} if password else {})
    return subprocess.run([*map(str, line)], env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_images_are_found_scored_once_and_their_results_stored(server, model_file, tmp_path):
    options = ("--body-part", "CHEST", "--date", "20260101-20260131")
    done = command(server, tmp_path / "queue", model_file, *options)
    assert done.returncode == 0, done.stderr
    assert "delivered: 3" in done.stdout
    assert len(server.get("/instances")) == 5 + 9
    assert len(server.get("/studies")) == 2
    again = command(server, tmp_path / "queue", model_file, *options)
    assert again.returncode == 0
    assert "scored:" not in again.stderr
    rest = command(server, tmp_path / "queue", model_file)
    assert rest.stderr.count("scored:") == 1
    assert rest.stderr.count("skipped:") == 1
    assert "delivered: 4" in rest.stdout
    assert len(server.get("/instances")) == 5 + 12
    assert NAME.split("^")[0] not in done.stderr + again.stderr + rest.stderr


def test_searching(server):
    client = DICOMwebClient(f"{server.url}/dicom-web")
    assert len(find(client, Search(modalities=["CR"]))) == 5
    assert len(find(client, Search(modalities=["CR", "DX"], body_part="HAND"))) == 1
    assert len(find(client, Search(modalities=["CR"], date="20250101"))) == 1
    assert find(client, Search(modalities=["DX"])) == []
    assert find(client, Search(modalities=["CR"], patient_id="nobody")) == []


def test_what_stopped_half_way_goes_on(server, predictor, tmp_path):
    client, search = DICOMwebClient(f"{server.url}/dicom-web"), Search(modalities=["CR"], body_part="CHEST")

    class StopError(Exception):
        pass

    class Stopping(QueueScorer):
        left = 2

        def step(self):
            if not self.left:
                raise StopError
            worked = super().step()
            self.left -= worked
            return worked

    with Queue(tmp_path / "queue", predictor.model) as queue:
        sender = ResultSender(queue, WebPeer(client=client))
        with pytest.raises(StopError):
            pull(client, search, queue, Stopping(queue, predictor), sender)
    with Queue(tmp_path / "queue", predictor.model) as queue:
        counts = pull(client, search, queue, QueueScorer(queue, predictor), ResultSender(queue, WebPeer(client=client)))
    assert counts[State.DELIVERED] == 4
    assert len(server.get("/instances")) == 5 + 12


BEARER = """
function IncomingHttpRequestFilter(method, uri, ip, username, headers)
  return uri == '/statistics' or headers['authorization'] == 'Bearer renewed'
end
"""


def configured(folder, old, new):
    """Return the configuration of deploy/orthanc with another setting, as a file in a folder."""
    text = CONFIGURATION.read_text("utf-8")
    text = text.replace('"covidcxr.lua"', f'"{CONFIGURATION.with_name("covidcxr.lua")}"')
    assert old in text
    text = text.replace(old, new)
    path = folder / "orthanc.json"
    path.write_text(text, "utf-8")
    return path


def test_a_server_that_asks_for_a_password(model_file, tmp_path):
    users = '"AuthenticationEnabled": true, "RegisteredUsers": {"rené": "geheim:ü"}'
    configuration = configured(tmp_path, '"AuthenticationEnabled": false', users)
    with orthanc(tmp_path / "orthanc", free_port(), configuration) as server:
        assert send(server.dicom_port, save(chest(), tmp_path / "1.dcm"), called="ORTHANC").returncode == 0
        folder = tmp_path / "queue"
        for login in ({}, {"password": "wrong"}):
            options = ["--user", "rené"] if login else []
            done = command(server, folder, model_file, "--patient-id", PATIENT_ID, *options, **login)
            assert done.returncode == 1
            assert done.stderr.endswith("answered with status 401.\n")
            assert PATIENT_ID not in done.stderr
        done = command(server, folder, model_file, "--user", "rené", password="geheim:ü")
        assert "delivered: 1" in done.stdout
        assert "geheim" not in done.stderr


def test_a_server_that_asks_for_a_token_which_is_renewed(model_file, tmp_path):
    (tmp_path / "token.lua").write_text(BEARER)
    configuration = configured(tmp_path, '"LuaScripts": [', f'"LuaScripts": ["{tmp_path / "token.lua"}", ')
    with orthanc(tmp_path / "orthanc", free_port(), configuration) as server:
        assert send(server.dicom_port, save(chest(), tmp_path / "1.dcm"), called="ORTHANC").returncode == 0
        token = tmp_path / "token"
        token.write_text("old")
        client = client_of(f"{server.url}/dicom-web", TokenFile(token))
        with pytest.raises(PeerError, match="status 403"):
            find(client, Search(modalities=["CR"]))
        token.write_text("renewed\n")
        assert len(find(client, Search(modalities=["CR"]))) == 1
        done = command(server, tmp_path / "queue", model_file, "--token-file", token)
        assert "delivered: 1" in done.stdout, done.stderr
        assert server.instances() == 4
        token.unlink()
        client.set_http_retry_params(retry=False)  # it would try for half a minute
        with pytest.raises(PeerError, match="FileNotFoundError"):
            find(client, Search(modalities=["CR"]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--user", "a"], f"environment variable {PASSWORD}"),
        (["--user", "a", "--token-file", __file__], "Expected --user or --token-file"),
        (["--dicomweb", "https://a:geheim@pacs.example"], "Expected a URL without a login"),
    ],
)
def test_logins_that_are_none(options, reason, model_file, tmp_path):
    line = [sys.executable, "-m", "covidcxr", "dicom", "pull", "--dicomweb", "http://127.0.0.1:1"]
    line += ["--queue", tmp_path / "queue", "--model", model_file, *options]
    done = subprocess.run([*map(str, line)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())
    assert "geheim" not in done.stderr


def test_an_image_that_breaks_the_standard_keeps_no_other_from_being_scored(model_file, tmp_path):
    with orthanc(tmp_path / "orthanc", free_port()) as server:
        broken = save(chest(1, NumberOfFrames=2), tmp_path / "1.dcm")
        content = broken.read_bytes()
        frames = b"\x28\x00\x08\x00IS\x02\x00"
        assert frames + b"2 " in content
        broken.write_bytes(content.replace(frames + b"2 ", frames + b"Ge"))
        files = [broken, save(chest(2), tmp_path / "2.dcm")]
        assert send(server.dicom_port, *files, called="ORTHANC").returncode == 0
        done = command(server, tmp_path / "queue", model_file)
        assert "delivered: 1" in done.stdout, done.stderr
        assert "not retrieved: 2.25.1001: " in done.stderr
        assert "'Ge'" not in done.stderr


def test_a_server_that_is_not_there_is_named(tmp_path):
    client = DICOMwebClient(f"http://127.0.0.1:{free_port()}")
    client.set_http_retry_params(retry=False)  # it would try for half a minute
    with pytest.raises(PeerError, match="DICOMweb server: ConnectionError"):
        find(client, Search(modalities=["CR"]))


def match(number, **elements):
    """A search result as DICOM JSON (PS3.18 F)."""
    uids = {"0020000D": "2.25.77", "0020000E": f"2.25.88{number}", "00080018": f"2.25.{1000 + number}"} | elements
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}


class Pages:
    """A client of a server with these pages of search results, and then the last one for ever or nothing."""

    def __init__(self, *pages, stuck=False):
        self.pages, self.stuck = list(pages), stuck

    def search_for_instances(self, **_):
        if self.stuck and len(self.pages) == 1:
            return self.pages[0]
        return self.pages.pop(0) if self.pages else []


def test_a_server_that_ignores_the_offset_ends_the_search():
    with pytest.raises(PeerError, match="ignores the offset"):
        find(Pages([match(1), match(2)], stuck=True), Search(modalities=["CR"]))


def test_a_search_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("covidcxr.dicom.dicomweb.MAX_PAGES", 3)
    with pytest.raises(PeerError, match="more than 3 pages"):
        find(Pages(*([match(number)] for number in range(9))), Search(modalities=["CR"]))


def test_search_results_without_their_uids_are_skipped_and_the_rest_is_found(caplog):
    broken = [match(1, **{"0020000E": None}), {}, {"0020000D": None}, [], match(2, **{"00080018": "A^B"})]
    found = find(Pages([*broken, match(3)], [match(4)]), Search(modalities=["CR"]))
    assert [address.instance for address in found] == ["2.25.1003", "2.25.1004"]
    assert caplog.text.count("skipped: a search result without the UIDs") == len(broken)


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(409)
        self.end_headers()
        self.wfile.write(json.dumps({}).encode())

    def log_message(self, *_):
        pass


def test_refused_results_wait(predictor, tmp_path):
    web = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    client = DICOMwebClient(f"http://127.0.0.1:{web.server_address[1]}")
    buffer = io.BytesIO()
    chest().save_as(buffer, enforce_file_format=True)
    with Queue(tmp_path / "queue", predictor.model) as queue:
        queue.add("2.25.1001", buffer.getvalue())
        QueueScorer(queue, predictor).step()
        sender = ResultSender(queue, WebPeer(client=client))
        assert sender.step()
        assert not sender.step()
        assert queue.counts()[State.SCORED] == 1
    web.shutdown()
    web.server_close()
