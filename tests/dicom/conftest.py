"""What the tests of DICOM share: radiographs with a whole header, the real tools, and servers on free ports."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from covidcxr.images.phantom import radiograph
from support.dicom_objects import overridden

NAME, PATIENT_ID = "Geheim^Gerda", "SECRET-4711"
CHEST = radiograph(np.random.default_rng(0), size=(192, 160))


def tool(name):
    """Return the path of an installed program; skip the test without it, except in CI."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"Expected {name} to be installed (docs/dicom.md). Received none.")
        pytest.skip(f"{name} is not installed (docs/dicom.md)")
    return path


def chest(number=1, *, grey=CHEST, **elements):
    """A computed radiograph as a modality sends it; ``elements`` overrides any element, None deletes it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, f"2.25.{1000 + number}"
    ds.PatientName, ds.PatientID = NAME, PATIENT_ID
    ds.PatientBirthDate, ds.PatientSex = "19500102", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.77", f"2.25.88{number}"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "S1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A1", "Arzt^Anna"
    ds.Modality, ds.Manufacturer = "CR", "Some Vendor"
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.Rows, ds.Columns = grey.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PatientOrientation = ["L", "F"]
    ds.PixelSpacing = [0.2, 0.2]
    ds.PixelData = (grey.astype(np.uint16) * 16).tobytes()
    return overridden(ds, elements)


def capture_of(grey, **elements):
    """A Secondary Capture in colour."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    depth = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    pixels = np.stack([grey] * 3, axis=-1).tobytes()
    return chest(SOPClassUID=SecondaryCaptureImageStorage, PixelData=pixels, **colour, **depth, **elements)


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def wait_for(condition, seconds=60):
    """Wait until a condition holds; return what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return value


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command, *, log, port, cwd=None, environment=None):
    """Run a server until the block ends; ``log`` is a file for everything it says."""
    with log.open("ab") as output:
        server = subprocess.Popen(
            [*map(str, command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=os.environ | (environment or {}),
        )
    try:
        wait_for(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
        yield server
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def node(folder, model, port, *options, log=None):
    """Run ``covidcxr dicom node`` with its queue in a folder."""
    command = [sys.executable, "-m", "covidcxr", "dicom", "node", "--port", port, "--queue", folder, "--model", model]
    with process([*command, *options], log=log or folder.with_suffix(".log"), port=port) as server:
        yield server


@contextmanager
def archive(folder, port, *options):
    """Run dcmtk's storescp, which writes whatever it gets into a folder."""
    folder.mkdir()
    command = [tool("storescp"), "--aetitle", "ARCHIVE", "--output-directory", folder, *options, port]
    with process(command, log=folder.with_suffix(".log"), port=port) as server:
        yield server


def send(port, *files, called="COVIDCXR", calling="MODALITY", options=()):
    """Send files with dcmtk's storescu; return the finished process."""
    command = [tool("storescu"), "-aet", calling, "-aec", called, *options, "127.0.0.1", port, *files]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)


def echo(port, called="COVIDCXR", calling="MODALITY", *options):
    """Tell whether dcmtk's echoscu gets an answer."""
    command = [tool("echoscu"), "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).returncode == 0


def stored(folder):
    """Return the data sets in a folder of files."""
    return [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]
