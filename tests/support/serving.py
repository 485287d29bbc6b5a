"""``covidcxr serve`` as a process, or an application in this one, for the tests that need a real connection."""

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_server

from covidcxr import DISCLAIMER
from support.uploads import MULTIPART

SERVE = (Path(sys.executable).with_name("covidcxr"), "serve", "--port", "0")


@contextmanager
def hosting(app):
    """Serve an application on a free port until the end of the block; yields its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(model_file, log, *options, **process_options):
    """Run the command on a free port until the end of the block; yields the process, host and port.

    What it writes goes through a pipe to the file ``log``.
    """
    process = subprocess.Popen(
        [*SERVE, "--model", str(model_file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, as in a terminal
        **process_options,
    )
    log.touch()
    copying = threading.Thread(target=copy, args=(process.stdout, log))
    copying.start()
    with process:
        try:
            yield process, *wait_for_address(process, log)
        finally:
            process.terminate()
            process.wait(timeout=40)
            copying.join()


def copy(pipe, log):
    with log.open("ab", buffering=0) as file:
        while chunk := pipe.read1():
            file.write(chunk)


def wait_for_address(process, log):
    for _ in range(300):
        found = re.search(r"http://([\d.]+|\[[\da-f:]+\]):(\d+)", log.read_text())
        if found and DISCLAIMER in log.read_text():
            return found[1].strip("[]"), int(found[2])
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"no address in: {log.read_text()}")


def children(pid):
    """Return the process numbers of the children of a process: of a server, its workers."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ask(host, port, method="GET", path="/healthz", body=None, headers=()):
    """Send one request on a connection of its own; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": MULTIPART} | dict(headers) if body else dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
