"""The server as a process, over real connections: slow clients, ends, deaths, full disks."""

import http.client
import json
import os
import resource
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from covidcxr.images.phantom import radiograph
from covidcxr.web.http.timeouts import Watchdog, current_timer
from support.processes import children, eventually
from support.serving import ask, serving
from support.uploads import MULTIPART, dicom, multipart, picture

pytestmark = pytest.mark.slow

API = "/api/v1/predictions"
GREY = radiograph(np.random.default_rng(0), size=(240, 200))
BODY = multipart([("a.png", picture(GREY))])
HEAD = f"POST {API} HTTP/1.1\r\nHost: x\r\nContent-Type: {MULTIPART}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


def predict(host, port):
    return ask(host, port, "POST", API, BODY)[0]


def connect(host, port):
    return socket.create_connection((host, port), timeout=20)


def everything(connection):
    """Read until the other side closes."""
    parts = []
    while part := connection.recv(2**16):
        parts.append(part)
    return b"".join(parts)


def drip(connection, data, seconds):
    """Send a byte every now and then, for so long or until the other side has had enough."""
    end = time.monotonic() + seconds
    try:
        for place in range(len(data)):
            if time.monotonic() > end:
                break
            connection.sendall(data[place : place + 1])
            time.sleep(0.1)
    except OSError:
        pass


def test_slow_clients_do_not_keep_the_threads(model_file, tmp_path):
    """As many as there are threads drip a body, as many a head: others wait for the timeout, not for ever."""
    with serving(model_file, tmp_path / "log", "--threads", "2", "--timeout", "1") as (_, host, port):
        slow = [connect(host, port) for _ in range(4)]
        starts = [HEAD + BODY[:1000]] * 2 + [HEAD[:40]] * 2
        rests = [BODY[1000:]] * 2 + [HEAD[40:]] * 2
        for connection, start in zip(slow, starts, strict=True):
            connection.sendall(start)
        dripping = [
            threading.Thread(target=drip, args=(connection, rest, 10))
            for connection, rest in zip(slow, rests, strict=True)
        ]
        for thread in dripping:
            thread.start()
        begun = time.monotonic()
        assert predict(host, port) == 200
        assert time.monotonic() - begun < 6
        answers = [everything(connection) for connection in slow[:2]]
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 408 ")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            assert json.loads(body)["detail"] == "The request did not arrive in time."
        for thread in dripping:
            thread.join()
        for connection in slow:
            connection.close()
        assert predict(host, port) == 200
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_slow_line_is_no_reason_to_cut(model_file, tmp_path):
    """Bytes that arrive add to the time: an upload may take longer than the timeout."""
    body = multipart([("a.dcm", dicom(radiograph(np.random.default_rng(0), size=(600, 500))))])
    head = HEAD.replace(str(len(BODY)).encode(), str(len(body)).encode())
    with serving(model_file, tmp_path / "log", "--timeout", "1") as (_, host, port), connect(host, port) as connection:
        connection.sendall(head)
        begun = time.monotonic()
        for place in range(0, len(body), len(body) // 20):
            connection.sendall(body[place : place + len(body) // 20])
            time.sleep(0.125)
        assert time.monotonic() - begun > 2
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_take_its_answer_is_left():
    server, client = socket.socketpair()
    watchdog = Watchdog(0.2)
    with server, client, watchdog.watch(server):
        timer = current_timer()
        timer.stop()
        timer.answer(0.2)
        begun = time.monotonic()
        with pytest.raises(OSError, match="Broken pipe"):
            server.sendall(bytes(10_000_000))
        assert 0.2 <= time.monotonic() - begun < 2
        assert timer.expired


def test_nobody_is_cut_while_the_server_computes():
    server, client = socket.socketpair()
    with server, client, Watchdog(0.1).watch(server):
        current_timer().stop()
        time.sleep(0.6)
        assert not current_timer().expired
    assert current_timer() is None


def test_many_requests_on_one_connection_are_answered_beyond_the_timeout(model_file, tmp_path):
    with serving(model_file, tmp_path / "log", "--timeout", "0.5") as (_, host, port):
        connection = http.client.HTTPConnection(host, port, timeout=20)
        for _ in range(6):
            connection.request("POST", API, BODY, {"Content-Type": MULTIPART})
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
            local = connection.sock.getsockname()
            time.sleep(0.3)
            assert connection.sock.getsockname() == local  # the same connection
        connection.close()


def test_not_ready_while_it_drains_but_answers(model_file, tmp_path):
    with serving(model_file, tmp_path / "log", "--drain", "2") as (process, host, port):
        assert ask(host, port, path="/readyz")[0] == 200
        process.terminate()
        time.sleep(0.5)
        assert ask(host, port, path="/readyz")[0] == 503
        assert ask(host, port, path="/healthz")[0] == 200
        assert predict(host, port) == 200
        assert process.wait(timeout=20) == 0


def metric(host, port, name):
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_counters_outlive_a_killed_worker(model_file, tmp_path):
    with serving(model_file, tmp_path / "log", "--workers", "2") as (process, host, port):
        for _ in range(8):
            assert predict(host, port) == 200
        assert metric(host, port, "covidcxr_predictions_total") == 8
        workers = children(process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: len(set(children(process.pid)) - set(workers)) >= 2)
        assert predict(host, port) == 200
        assert metric(host, port, "covidcxr_predictions_total") == 9
        assert metric(host, port, "covidcxr_requests_in_progress") == 1


def test_a_worker_that_crashes_is_replaced(model_file, tmp_path):
    """As a decoder or the model may make it: the request in progress is lost, the next ones are answered."""
    log = tmp_path / "log"
    with serving(model_file, log, "--log-format", "json") as (process, host, port):
        assert predict(host, port) == 200
        (worker,) = children(process.pid)
        connection = connect(host, port)
        connection.sendall(HEAD + BODY[:1000])
        time.sleep(0.3)  # until a thread waits for the rest
        os.kill(worker, signal.SIGSEGV)
        with connection, suppress(ConnectionResetError):
            assert everything(connection) == b""
        eventually(lambda: answers(host, port))
        assert worker not in children(process.pid)
        assert metric(host, port, "covidcxr_predictions_total") == 2
        assert metric(host, port, "covidcxr_requests_in_progress") == 1
    assert f"Worker (pid:{worker}) was sent SIGSEGV!" in log.read_text()


def answers(host, port):
    try:
        return predict(host, port) == 200
    except OSError:
        return False


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_server(model_file, tmp_path, ending):
    with serving(model_file, tmp_path / "log", "--workers", "2") as (process, host, port):
        assert predict(host, port) == 200
        workers = children(process.pid)
        process.send_signal(ending)
        process.wait(timeout=40)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_folder_for_counters_is_removed_at_the_end(model_file, tmp_path, ending):
    with serving(model_file, tmp_path / "log", "--workers", "2") as (process, host, port):
        assert predict(host, port) == 200
        mapped = Path(f"/proc/{children(process.pid)[0]}/maps").read_text().split()
        (folder,) = {Path(word).parent for word in mapped if word.endswith(".db")}
        assert str(folder).startswith("/dev/shm/covidcxr-")
        process.send_signal(ending)
        process.wait(timeout=40)
        eventually(lambda: not folder.exists())


def test_a_full_disk_does_not_matter(model_file, tmp_path):
    """No process may write a byte to a file, and there is no folder for temporary ones."""
    gone = tmp_path / "gone"
    large = multipart([("a.dcm", dicom(np.tile(GREY, (10, 12))[:2300, :2300]))])
    assert len(large) > 10_000_000
    options = {
        "piped": True,
        "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        "env": {**os.environ, "TMPDIR": str(gone), "PYTHONDONTWRITEBYTECODE": "1"},
    }
    with serving(model_file, tmp_path / "log", **options) as (_, host, port):
        assert predict(host, port) == 200
        assert ask(host, port, "POST", API + "?include=preview", large)[0] == 200
        assert ask(host, port, path="/readyz")[0] == 200
        assert metric(host, port, "covidcxr_predictions_total") == 2


def test_the_log_of_a_request_that_is_none_names_nobody(model_file, tmp_path):
    log = tmp_path / "log"
    with serving(model_file, log, "--log-format", "json") as (_, host, port):
        for request in (
            b"Doe\r\n\r\n",
            b"GET /?name=Doe HTTP/1.1\r\nDoe Jane: x\r\n\r\n",
            b"GET / HTTP/9.9\r\nDoe: x\r\n\r\n",
        ):
            with connect(host, port) as connection:
                connection.sendall(request)
                assert everything(connection).startswith(b"HTTP/1.1 400 ")
        with connect(host, port) as connection:  # a chunk that is none
            chunked = HEAD.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
            connection.sendall(chunked + b"Doe\r\n")
            assert everything(connection).startswith(b"HTTP/1.1 400 ")
        assert predict(host, port) == 200
    text = log.read_text()
    assert "Doe" not in text
    assert "127.0.0.1" not in text.partition("\n")[2]
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines].count("Invalid request") == 3
    assert [(line["route"], line["status"]) for line in lines if line["message"] == "request"][-1] == (API, 200)
