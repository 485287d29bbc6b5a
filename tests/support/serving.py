"""``covidcxr serve`` as a process, or an application in this one, for the tests that need a real connection."""

import http.client
import json
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_server

from covidcxr import DISCLAIMER
from support.processes import running
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

    The process has a process group of its own, as in a terminal.
    """
    command = [*SERVE, "--model", model_file, *options]
    ready = {"ready": lambda: address_in(log), "start_new_session": True}
    with running(command, log, **ready, **process_options) as process:
        yield process, *address_in(log)


def address_in(log):
    """Return host and port that a server has announced in its log, None before it has."""
    text = log.read_text()
    found = re.search(r"http://([\d.]+|\[[\da-f:]+\]):(\d+)", text)
    return (found[1].strip("[]"), int(found[2])) if found and DISCLAIMER in text else None


def ask(host, port, method="GET", path="/healthz", body=None, headers=()):
    """Send one request on a connection of its own; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": MULTIPART} | dict(headers) if body else dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
