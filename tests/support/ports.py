"""Ports for the servers that tests start."""

import os
import socket
from itertools import count

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_NUMBERS = count(20_000 + 1_000 * (_WORKER % 12) + os.getpid() % 500)


def free_port():
    """Return a port of this machine on which nothing listens, another one each time.

    Not one that the system chooses: it gives the same ones to outgoing connections, and one of those may have it by
    the time that a server, which starts later, is to listen on it.
    """
    return next(port for port in _NUMBERS if _is_free(port))


def _is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
