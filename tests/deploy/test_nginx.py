"""nginx with the site of deploy/nginx.conf, changed in addresses, certificate and seconds alone, and a real server."""

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from covidcxr.images.phantom import radiograph
from support.deployment import API, wait_until_ready
from support.environment import DEPLOY, program
from support.ports import free_port
from support.processes import children, eventually, running
from support.uploads import MULTIPART, multipart, picture

SITE = (DEPLOY / "nginx.conf").read_text()
BODIES = Path("/dev/shm/covidcxr")
MAIN = """
pid {folder}/pid;
error_log {folder}/errors;
events {{ }}
http {{ include {folder}/covidcxr.conf; }}
"""
UPLOAD = multipart([("a.png", picture(radiograph(np.random.default_rng(0), size=(480, 400))))])
SLOW_CLIENTS = 5


@dataclass(frozen=True)
class Proxy:
    """A running nginx.

    Attributes:
        plain: Port for HTTP.
        port: Port for HTTPS.
        trust: What a client needs to believe its certificate.
        log: Of the server behind it.
        process: Number of nginx's first process.
    """

    plain: int
    port: int
    trust: ssl.SSLContext
    log: Path
    process: int

    def bodies(self):
        """Count the requests that nginx keeps in files, all of which must lie in memory. Their names are gone."""
        workers = children(self.process)
        files = [str(file.readlink()) for worker in workers for file in Path(f"/proc/{worker}/fd").iterdir()]
        kept = [file for file in files if file.endswith(" (deleted)")]
        assert all(file.startswith(f"{BODIES}/") for file in kept), kept
        return len(kept)

    def ask(self, method="GET", path="/readyz", body=None, source="127.0.0.1", **headers):
        """Return status, headers and body of an answer."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, context=self.trust, source_address=(source, 0)
        )
        try:
            connection.request(method, path, body, {"Content-Type": MULTIPART, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    @contextmanager
    def begun(self, text):
        """Send the beginning of a request, and leave it at that."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=30) as plain,
            self.trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(text)
            yield connection


@pytest.fixture(scope="module")
def proxy(model_file, tmp_path_factory):
    nginx, openssl = program("nginx", "nginx-light"), program("openssl")
    folder, ports = tmp_path_factory.mktemp("nginx"), [free_port() for _ in range(3)]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=covidcxr", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "fullchain.pem"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "covidcxr.conf").write_text(site(folder, *ports))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    configured = [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "errors"]
    checked = subprocess.run([*configured, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    with (
        running([*serve(), "--model", model_file, "--port", str(ports[2])], folder / "log") as server,
        running([*configured, "-g", "daemon off;"], folder / "output") as process,
    ):
        wait_until_ready(f"http://127.0.0.1:{ports[2]}", server)
        trust = ssl.create_default_context(cafile=folder / "fullchain.pem")
        yield Proxy(plain=ports[0], port=ports[1], trust=trust, log=folder / "log", process=process.pid)
    if BODIES.is_dir() and not list(BODIES.iterdir()):
        BODIES.rmdir()


def site(folder, plain, port, server):
    """Return the site with other addresses, another certificate and shorter patience; all else is as it ships."""
    text = SITE
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{server};"),
        ("/etc/ssl/covidcxr", str(folder)),
        ("client_header_timeout 10s;", "client_header_timeout 1s;"),
        ("client_body_timeout 10s;", "client_body_timeout 4s;"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def serve():
    """Return the command of the service, with one thread: a single slow client would keep it busy."""
    (line,) = [line for line in (DEPLOY / "covidcxr.service").read_text().splitlines() if line.startswith("ExecStart=")]
    program, *words = line.removeprefix("ExecStart=").split()
    return [Path(sys.executable).with_name(Path(program).name), *words, "--threads", "1", "--log-addresses"]


def test_a_picture_is_scored_through_it(proxy):
    status, headers, body = proxy.ask("POST", API, UPLOAD)
    assert status == 200, body
    assert abs(sum(json.loads(body)[0]["probabilities"].values()) - 1) < 1e-3
    assert headers["Strict-Transport-Security"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]  # the server's own headers are kept
    assert headers["Server"] == "nginx"


def test_without_encryption_there_is_nothing_but_the_way_to_it(proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=30)
    connection.request("GET", "/x?y=1", headers={"Host": "covidcxr.example.org"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, "https://covidcxr.example.org/x?y=1")
    connection.close()


def test_slow_clients_keep_no_thread_and_their_pictures_stay_in_memory(proxy):
    head = f"POST {API} HTTP/1.1\r\nHost: x\r\nContent-Type: {MULTIPART}\r\nContent-Length: {len(UPLOAD)}\r\n\r\n"
    slow = [proxy.begun(head.encode() + UPLOAD[:-10]) for _ in range(SLOW_CLIENTS)]
    connections = [each.__enter__() for each in slow]
    try:
        eventually(lambda: proxy.bodies() == SLOW_CLIENTS)
        begin = time.monotonic()
        assert proxy.ask("POST", API, UPLOAD)[0] == 200
        assert time.monotonic() - begin < 3
        connections[0].sendall(UPLOAD[-10:])
        assert connections[0].recv(12) == b"HTTP/1.1 200"  # slow, but served
        assert connections[1].recv(12) in (b"", b"HTTP/1.1 408")  # slower than that
    finally:
        for each in slow:
            each.__exit__(None, None, None)
    eventually(lambda: proxy.bodies() == 0)


def test_a_request_whose_head_never_ends_is_dropped(proxy):
    with proxy.begun(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ") as connection:
        begin = time.monotonic()
        assert connection.recv(12) in (b"", b"HTTP/1.1 408")
        assert time.monotonic() - begin < 5


def test_what_is_too_large_is_refused_before_it_is_sent(proxy):
    head = f"POST {API} HTTP/1.1\r\nHost: x\r\nContent-Type: {MULTIPART}\r\nContent-Length: {100 * 2**20}\r\n\r\n"
    with proxy.begun(head.encode()) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_the_largest_request_that_the_server_takes_gets_through(proxy):
    room = len(multipart([("a.png", b"")]))
    status, _, body = proxy.ask("POST", API, multipart([("a.png", bytes(64 * 2**20 - room - 2**16))]))
    assert status in (200, 400, 422), body  # no picture, but it arrived
    assert b"Expected at most" not in body


def test_the_measures_are_for_this_machine_alone(proxy):
    assert proxy.ask(path="/metrics")[0] == 200
    assert proxy.ask(path="/metrics", source="127.0.0.2")[0] == 403


def test_what_a_client_says_of_itself_is_not_believed(proxy):
    lies = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Prefix": "/lies", "X-Forwarded-Host": "lies.example"}
    _, _, body = proxy.ask(path="/", source="127.0.0.2", **lies)
    assert b"/lies" not in body
    assert b"lies.example" not in body
    assert '"127.0.0.2"' in proxy.log.read_text()
    assert "203.0.113.9" not in proxy.log.read_text()
