"""Ports for the servers that tests start."""

import os
import socket
from itertools import count

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_NUMBERS = count(20_000 + 1_000 * (_WORKER % 12) + os.getpid() % 500)


def free_port():
    """Return a port of this machine on which nothing listens, a different one each time.

    The system does not choose it: it uses the same range for outgoing connections, and one of those could occupy the
    port before the server starts.
    """
    return next(port for port in _NUMBERS if _is_free(port))


def _is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def listens(port):
    """Tell whether a server accepts connections on a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
