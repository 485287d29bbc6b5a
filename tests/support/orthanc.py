"""A real Orthanc with the configuration of deploy/orthanc, alone or beside a node."""

import json
import os
import time
import urllib.request
from contextlib import contextmanager

from support.dicom_node import node, send
from support.environment import DEPLOY, program
from support.ports import free_port, listens
from support.processes import eventually, running

CONFIGURATION = DEPLOY / "orthanc" / "orthanc.json"


class Orthanc:
    """A running Orthanc."""

    def __init__(self, dicom_port, http_port):
        self.dicom_port = dicom_port
        self.url = f"http://127.0.0.1:{http_port}"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def instances(self):
        """How many objects it holds."""
        return self.get("/statistics")["CountInstances"]

    def seconds_to_results(self, file):
        """Send an image; return the time from then until its three results have arrived."""
        before, started = self.instances(), time.monotonic()
        assert send(self.dicom_port, file, called="ORTHANC").returncode == 0
        eventually(lambda: self.instances() == before + 4)
        return time.monotonic() - started


@contextmanager
def orthanc(folder, node_port, configuration=CONFIGURATION):
    """Run Orthanc with its storage in a folder; it sends radiographs to a node on this port."""
    folder.mkdir(exist_ok=True)
    http_port = free_port()
    server = Orthanc(free_port(), http_port)
    settings = {
        "ORTHANC_STORAGE": folder / "storage",
        "ORTHANC_DICOM_PORT": server.dicom_port,
        "ORTHANC_HTTP_PORT": http_port,
        "COVIDCXR_PORT": node_port,
    }
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    command = [program("Orthanc", "orthanc"), configuration]
    with running(command, folder / "orthanc.log", ready=lambda: listens(http_port), cwd=folder, env=environment):
        yield server


@contextmanager
def orthanc_and_node(folder, model):
    """Run both, each sending to the other; give Orthanc and the process of the node, whose log is queue.log."""
    port = free_port()
    with orthanc(folder / "orthanc", port) as server:
        forward = ["--forward", f"ORTHANC@127.0.0.1:{server.dicom_port}", "--allow", "ORTHANC"]
        with node(folder / "queue", model, port, *forward) as running:
            yield server, running
