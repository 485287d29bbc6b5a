"""The process with the model, and the web process that asks it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from covidcxr.errors import ImageError
from covidcxr.images.phantom import radiograph
from covidcxr.web import engine_process
from covidcxr.web.engine import EngineLostError
from covidcxr.web.engine_process import RemoteEngine
from covidcxr.web.jobs import LocalEngine
from support.processes import children
from support.serving import ask, serving
from support.uploads import MULTIPART, dicom, multipart, picture

API = "/api/v1/predictions"
GREY = radiograph(np.random.default_rng(0), size=(240, 200))
BODY = multipart([("a.png", picture(GREY))])
PAGES_WITHOUT_ARRAYS = """
import json, sys
from io import BytesIO
from covidcxr.web import engine_process, server
from covidcxr.web.app import create_app

class Engine:
    model, artifact = "m@0", json.loads(sys.argv[1])
    def call(self, job, *arguments):
        return json.loads(sys.argv[2])

client = create_app(Engine()).test_client()
upload = {"file": (BytesIO(b"x"), "x.png")}
answers = [client.post("/api/v1/predictions", data=upload), *map(client.get, sys.argv[3].split())]
found = sorted({"numpy", "PIL", "onnxruntime"} & set(sys.modules))
print(json.dumps([[answer.status_code for answer in answers], found]))
"""


class Buggy:
    model, artifact = "m@0", {}

    def call(self, job, *_):
        raise ZeroDivisionError(job)


class Upload:
    """Something that tells whether it is still there."""


class Remembering:
    model, artifact = "m@0", {}

    def call(self, _, upload):
        self.upload = weakref.ref(upload)


@pytest.fixture
def connected():
    """Connect a RemoteEngine of one channel to an engine in this process; ``far`` ends it."""
    opened = []

    def connect(engine, lost=lambda: None):
        near, far = socket.socketpair()
        opened.extend((near, far))
        file = engine_process._file(far)
        engine_process._send(file, ("done", (engine.model, engine.artifact)))
        threading.Thread(target=engine_process._work, args=(file, engine), daemon=True).start()
        return RemoteEngine([near], lost), far

    yield connect
    for end in opened:
        end.close()


def test_a_web_process_answers_without_numpy(predictor):
    engine = LocalEngine(predictor)
    paths = "/ /model /metrics /readyz /api/v1/model /api/v1/openapi.json /v2/models/covidcxr /nowhere"
    answer = json.dumps(engine.call("score", GREY, "x.png"))
    script = [sys.executable, "-c", PAGES_WITHOUT_ARRAYS, json.dumps(engine.artifact), answer, paths]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[200] * 8 + [404], []]


def test_an_engine_elsewhere_answers_as_one_here(predictor, connected):
    here = LocalEngine(predictor)
    there, _ = connected(here)
    assert (there.model, there.artifact) == (here.model, here.artifact)
    extras = ("activation_map", "lungs", "patient", "preview")
    for job in (
        ("score", picture(GREY), "a.png", extras),
        ("score", dicom(GREY, PatientID="7"), "a.dcm", extras),
        ("score", GREY, "pixels"),
        ("drawing",),
        ("probe",),
    ):
        assert there.call(*job) == here.call(*job)


def test_errors_come_back_as_they_are_and_bugs_with_their_traceback(predictor, connected):
    there, _ = connected(LocalEngine(predictor))
    with pytest.raises(ImageError, match=r"Received a\.png"):
        there.call("score", b"nothing", "a.png")
    assert there.call("score", picture(GREY), "a.png")["label"]  # the channel goes on
    with pytest.raises(RuntimeError, match="ZeroDivisionError: score"):
        connected(Buggy())[0].call("score", b"", "a.png")


def test_nothing_of_an_upload_is_kept_after_the_answer(connected):
    engine = Remembering()
    connected(engine)[0].call("score", Upload())
    assert engine.upload() is None


def test_the_end_of_an_engine_is_noticed_without_a_request(connected):
    lost = threading.Event()
    there, far = connected(Buggy(), lost.set)
    far.shutdown(socket.SHUT_RDWR)
    assert lost.wait(10)
    with pytest.raises(EngineLostError):
        there.call("probe")


def test_an_engine_that_says_nothing_is_lost():
    near, far = socket.socketpair()
    far.close()
    with near, pytest.raises(EngineLostError):
        RemoteEngine([near], lambda: None)


def test_a_request_whose_engine_is_killed_is_told_so_and_the_next_one_is_answered(model_file, tmp_path):
    log = tmp_path / "log"
    with serving(model_file, log, "--log-format", "json") as (process, host, port):
        engine, _ = children(process.pid)
        os.kill(engine, signal.SIGSTOP)
        connection = http.client.HTTPConnection(host, port, timeout=30)
        connection.request("POST", API, BODY, {"Content-Type": MULTIPART})
        time.sleep(0.3)  # until it waits for the engine
        os.kill(engine, signal.SIGKILL)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "started anew" in json.loads(answer.read())["detail"]
        connection.close()
        end = time.monotonic() + 20
        while ask(host, port, "POST", API, BODY)[0] != 200:
            assert time.monotonic() < end
        assert engine not in children(process.pid)
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines() if line.startswith("{")]
    assert messages.count("The process with the model ended. Starting another one.") == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_no_engine_outlives_its_server(model_file, tmp_path, ending):
    with serving(model_file, tmp_path / "log", "--workers", "2") as (process, host, port):
        assert ask(host, port, "POST", API, BODY)[0] == 200
        started = children(process.pid)
        process.send_signal(ending)
        process.wait(timeout=40)
        end = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in started):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_engine_holds_nothing_open_but_its_channels(model_file, tmp_path):
    """Not the listening socket above all, also not when it was forked from a server that runs."""
    with serving(model_file, tmp_path / "log") as (process, host, port):
        first, web = children(process.pid)
        os.kill(web, signal.SIGKILL)
        end = time.monotonic() + 20
        while first in (now := children(process.pid)) or len(now) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert ask(host, port, "POST", API, BODY)[0] == 200
        second = now[0]
        listening = sockets("/proc/net/tcp")
        links = {str(file.readlink()) for file in Path(f"/proc/{second}/fd").iterdir()}
    assert listening
    assert not links & listening, links


def sockets(table):
    """Return the names of TCP sockets as links in /proc/PID/fd have them."""
    rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows}
