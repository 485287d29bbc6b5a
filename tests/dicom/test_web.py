import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dicomweb_client.api import DICOMwebClient

from covidcxr.dicom.queue import Queue, State
from covidcxr.dicom.web import Search, WebPeer, find, pull
from covidcxr.dicom.work import PeerError, Scorer, Sender
from dicom.conftest import NAME, chest, free_port, save, send
from dicom.orthanc import orthanc


@pytest.fixture
def server(tmp_path):
    """An Orthanc with three radiographs of the chest, one of a hand and one of another day; its Lua finds no node."""
    with orthanc(tmp_path / "orthanc", free_port()) as running:
        images = [chest(number) for number in range(3)]
        images += [chest(3, BodyPartExamined="HAND"), chest(4, StudyDate="20250101", StudyInstanceUID="2.25.78")]
        files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(images)]
        assert send(running.dicom_port, *files, called="ORTHANC").returncode == 0
        yield running


def command(server, folder, model, *options):
    """Run ``covidcxr dicom pull``; return the finished process."""
    line = [sys.executable, "-m", "covidcxr", "dicom", "pull", "--dicomweb", f"{server.url}/dicom-web"]
    line += ["--queue", folder, "--model", model, *options]
    return subprocess.run([*map(str, line)], capture_output=True, text=True, timeout=100, check=False)


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
    assert rest.stderr.count("left alone:") == 1
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

    class Stopping(Scorer):
        left = 2

        def step(self):
            if not self.left:
                raise StopError
            worked = super().step()
            self.left -= worked
            return worked

    with Queue(tmp_path / "queue", predictor.model) as queue:
        sender = Sender(queue, WebPeer(client=client))
        with pytest.raises(StopError):
            pull(client, search, queue, Stopping(queue, predictor), sender)
    with Queue(tmp_path / "queue", predictor.model) as queue:
        counts = pull(client, search, queue, Scorer(queue, predictor), Sender(queue, WebPeer(client=client)))
    assert counts[State.DELIVERED] == 4
    assert len(server.get("/instances")) == 5 + 12


def test_a_server_that_is_not_there_is_named(tmp_path):
    client = DICOMwebClient(f"http://127.0.0.1:{free_port()}")
    client.set_http_retry_params(retry=False)  # it would try for half a minute
    with pytest.raises(PeerError, match="DICOMweb server: ConnectionError"):
        find(client, Search(modalities=["CR"]))


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
        Scorer(queue, predictor).step()
        sender = Sender(queue, WebPeer(client=client))
        assert sender.step()
        assert not sender.step()
        assert queue.counts()[State.SCORED] == 1
    web.shutdown()
    web.server_close()
