import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from covidcxr import DISCLAIMER
from covidcxr.images.phantom import radiograph
from support.processes import children, eventually
from support.serving import SERVE, ask, serving
from support.uploads import MULTIPART, dicom, multipart, picture

pytestmark = pytest.mark.slow

API = "/api/v1/predictions"
GREY = radiograph(np.random.default_rng(0), size=(240, 200))


def test_it_answers_and_sigterm_ends_it(model_file, predictor, tmp_path):
    log = tmp_path / "log"
    with serving(model_file, log) as (process, host, port):
        assert host == "127.0.0.1"
        assert ask(host, port) == (200, {"status": "ok", "model": predictor.model})
        status, answer = ask(host, port, "POST", API, multipart([("a.png", picture(GREY))]))
        assert (status, answer) == (200, [predictor.predict(GREY).to_dict("a.png")])
        process.terminate()
        assert process.wait(timeout=20) == 0
        socket.create_server((host, port)).close()  # the port is free again
    text = log.read_text()
    assert text.count(DISCLAIMER) == text.count(f"http://{host}:{port}") == text.count(predictor.model) == 1
    assert len(text.splitlines()) == 2, text


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_requests_under_way_are_answered_before_it_ends(model_file, tmp_path, ending):
    body = multipart([("a.png", picture(GREY))])
    with serving(model_file, tmp_path / "log") as (process, host, port):
        connection = http.client.HTTPConnection(host, port, timeout=30)
        connection.putrequest("POST", API)
        connection.putheader("Content-Type", MULTIPART)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:1000])
        time.sleep(0.5)  # until a thread has taken it
        os.killpg(process.pid, ending)  # to all of the group, as a terminal sends Ctrl-C
        time.sleep(0.5)
        assert process.poll() is None
        connection.send(body[1000:])
        assert connection.getresponse().status == 200
        connection.close()
        assert process.wait(timeout=20) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_killed_workers_are_replaced_and_announced_once(model_file, tmp_path):
    log = tmp_path / "log"
    with serving(model_file, log, "--workers", "2", "--threads", "2") as (process, host, port):
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: len(now := children(process.pid)) == 2 and set(now) & set(workers) == set(workers[1:]))
        for _ in range(6):
            assert ask(host, port, "POST", API, multipart([("a.png", picture(GREY))]))[0] == 200
    assert log.read_text().count(DISCLAIMER) == 1


def test_the_log_names_no_file_and_no_patient(model_file, tmp_path):
    broken = dicom(GREY, PatientName="Doe^Jane", SpecificCharacterSet="Doe")  # pydicom warns and quotes it
    files = [("Doe.dcm", broken), ("Doe.txt", b"Doe"), ("Doe.png", picture(GREY))]
    log = tmp_path / "log"
    with serving(model_file, log) as (_, host, port):
        status, answer = ask(host, port, "POST", API, multipart(files))
        assert status == 200
        assert [item["path"] for item in answer] == [name for name, _ in files]
        assert ["error" in item for item in answer] == [False, True, False]
    assert "Doe" not in log.read_text()


def test_requests_that_are_too_large_are_answered(model_file, tmp_path):
    """Over a real connection: most clients send all of a request before they read."""
    body = multipart([("a.png", bytes(70 * 2**20))])
    with serving(model_file, tmp_path / "log") as (_, host, port):
        status, answer = ask(host, port, "POST", API, body)
        assert (status, answer["detail"][:20]) == (413, "Expected at most 64 ")
        status, answer = ask(
            host, port, "POST", API, (body[i : i + 2**20] for i in range(0, len(body), 2**20))
        )  # chunked
        assert (status, answer["detail"][:20]) == (413, "Expected at most 64 ")
        assert ask(host, port)[0] == 200


def test_ipv6(model_file, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serving(model_file, tmp_path / "log", "--host", "::1") as (_, host, port):
        assert ask(host, port)[0] == 200


def test_it_warns_where_other_machines_can_reach_it(model_file, tmp_path):
    log = tmp_path / "log"
    with serving(model_file, log, "--host", "0.0.0.0") as (_, _, port):
        assert ask("127.0.0.1", port)[0] == 200
    assert "Other machines can reach it without a password and without encryption." in log.read_text()


def fails(*options):
    done = subprocess.run([*SERVE, *options], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_port_in_use_is_a_clear_error_at_once(model_file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        begin = time.monotonic()
        message = fails("--model", str(model_file), "--port", str(port))
    assert time.monotonic() - begin < 4
    assert message == (
        f"Error: Cannot listen on 127.0.0.1, port {port}: Address already in use. "
        "Choose another address with --host or --port.\n"
    )


def test_an_address_of_another_machine_is_a_clear_error(model_file):
    assert "Cannot listen on 203.0.113.1" in fails("--model", str(model_file), "--host", "203.0.113.1")


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path):
    path = tmp_path / "broken.onnx"
    assert "does not exist" in fails("--model", str(path))
    path.write_bytes(b"no model")
    message = fails("--model", str(path))
    assert f"Error: Expected a model file in ONNX format. Received {path}" in message


def test_the_guard_and_the_log_are_options(model_file, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n")
    options = ("--token-file", str(token), "--rate-limit", "2/minute", "--host", "0.0.0.0", "--log-format", "json")
    headers = {"Authorization": "Bearer a-token-of-some-length", "X-Request-ID": "seven"}
    body, log = multipart([("a.png", picture(GREY))]), tmp_path / "log"
    with serving(model_file, log, *options, "--cors-origin", "https://viewer.example.org") as (_, _, port):
        assert ask("127.0.0.1", port)[0] == 200
        assert ask("127.0.0.1", port, path="/v2")[0] == 401
        assert ask("127.0.0.1", port, path="/v2", headers=headers)[0] == 200
        assert [ask("127.0.0.1", port, "POST", API, body, headers)[0] for _ in range(3)] == [200, 200, 429]
    text = log.read_text()
    assert "Other machines can reach it with a token and without encryption." in text
    assert '"request_id": "seven"' in text
    assert "a-token" not in text


def test_the_token_may_come_from_the_environment(model_file, tmp_path):
    environment = {**os.environ, "COVIDCXR_TOKEN": "a-token-of-some-length"}
    with serving(model_file, tmp_path / "log", env=environment) as (_, host, port):
        assert ask(host, port, path="/metrics")[0] == 401


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rate-limit", "often"), "Expected a rate such as 60/minute. Received often."),
        (("--cors-origin", "*"), "Expected an origin such as https://example.org. Received *."),
        (("--token-file", os.devnull), "Expected a token of 16 or more"),
    ],
)
def test_a_guard_that_cannot_be_is_a_clear_error(model_file, options, message):
    assert message in fails("--model", str(model_file), *options)


def test_help_imports_neither_server_nor_model():
    script = (
        "import sys; from covidcxr.cli import cli; cli(['serve', '--help'], standalone_mode=False);"
        "print(sorted({'flask', 'gunicorn', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert DISCLAIMER in done.stdout
