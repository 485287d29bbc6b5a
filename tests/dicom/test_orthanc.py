"""A real Orthanc with the configuration of deploy/orthanc: an image arrives there, its results stand beside it."""

import json
import logging
import os
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from dicom.conftest import chest, free_port, node, process, save, send, tool, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy" / "orthanc"
IMAGES = int(os.environ.get("COVIDCXR_ORTHANC_IMAGES", "2"))


class Orthanc:
    """A running Orthanc."""

    def __init__(self, dicom_port, http_port):
        self.dicom_port = dicom_port
        self.url = f"http://127.0.0.1:{http_port}"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def series(self):
        """Main tags of all series."""
        return [series["MainDicomTags"] for series in self.get("/series?expand")]


@contextmanager
def orthanc(folder, monkeypatch, node_port):
    folder.mkdir(exist_ok=True)
    server = Orthanc(free_port(), free_port())
    settings = {
        "ORTHANC_STORAGE": folder / "storage",
        "ORTHANC_DICOM_PORT": server.dicom_port,
        "ORTHANC_HTTP_PORT": server.url.rpartition(":")[2],
        "COVIDCXR_PORT": node_port,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    command = [tool("Orthanc"), DEPLOY / "orthanc.json"]
    with process(command, log=folder / "orthanc.log", port=int(settings["ORTHANC_HTTP_PORT"]), cwd=folder):
        yield server


def test_results_stand_in_the_study_seconds_after_the_image(model_file, tmp_path, monkeypatch):
    port = free_port()
    with orthanc(tmp_path / "orthanc", monkeypatch, port) as server:
        forward = ["--forward", f"ORTHANC@127.0.0.1:{server.dicom_port}", "--allow", "ORTHANC"]
        with node(tmp_path / "queue", model_file, port, *forward):
            latencies = []
            for number in range(IMAGES):
                file = save(chest(number), tmp_path / f"{number}.dcm")
                started = time.monotonic()
                assert send(server.dicom_port, file, called="ORTHANC").returncode == 0
                wait_for(lambda n=number: len(server.get("/instances")) == 4 * (n + 1))
                latencies.append(time.monotonic() - started)
            time.sleep(1)  # what came back is not sent to the node again
            assert len(server.get("/instances")) == 4 * IMAGES
            assert len(server.get("/studies")) == len(server.get("/patients")) == 1
            assert {tags["Modality"] for tags in server.series()} == {"CR", "SR", "OT", "PR"}
            captures = [s for s in server.get("/series?expand") if s["MainDicomTags"]["Modality"] == "OT"]
            with urllib.request.urlopen(f"{server.url}/instances/{captures[0]['Instances'][0]}/preview") as picture:
                assert picture.read(8) == b"\x89PNG\r\n\x1a\n"
            assert "left alone" not in (tmp_path / "queue.log").read_text()
    latencies.sort()
    logging.getLogger(__name__).info(
        "image at Orthanc to results in Orthanc: median %.2f s, %.2f to %.2f s, %d images",
        latencies[IMAGES // 2],
        latencies[0],
        latencies[-1],
        IMAGES,
    )
    assert latencies[0] < 10


def test_the_configuration_holds_no_password_and_listens_to_this_machine_only():
    text = (DEPLOY / "orthanc.json").read_text("utf-8")
    assert '"RemoteAccessAllowed": false' in text
    assert "RegisteredUsers" not in text
