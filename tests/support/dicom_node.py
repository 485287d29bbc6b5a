"""Radiographs with a complete header, the DICOM node, and the tools of dcmtk around it."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from covidcxr.images.phantom import radiograph
from support.dicom_objects import overridden
from support.environment import program
from support.ports import listens
from support.processes import running

NAME, PATIENT_ID = "Geheim^Gerda", "SECRET-4711"
CHEST = radiograph(np.random.default_rng(0), size=(192, 160))


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


@contextmanager
def node(folder, model, port, *options, log=None):
    """Run ``covidcxr dicom node`` with its queue in a folder."""
    command = [sys.executable, "-m", "covidcxr", "dicom", "node", "--port", port, "--queue", folder, "--model", model]
    log = log or folder.with_suffix(".log")
    with running([*command, *options], log, ready=lambda: listens(port)) as process:
        yield process


@contextmanager
def archive(folder, port, *options):
    """Run dcmtk's storescp, which writes whatever it gets into a folder."""
    folder.mkdir()
    command = [program("storescp", "dcmtk"), "--aetitle", "ARCHIVE", "--output-directory", folder, *options, port]
    with running(command, folder.with_suffix(".log"), ready=lambda: listens(port)) as process:
        yield process


def send(port, *files, called="COVIDCXR", calling="MODALITY", options=()):
    """Send files with dcmtk's storescu; return the finished process."""
    command = [program("storescu", "dcmtk"), "-aet", calling, "-aec", called, *options, "127.0.0.1", port, *files]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)


def echo(port, called="COVIDCXR", calling="MODALITY", *options):
    """Tell whether dcmtk's echoscu gets an answer."""
    command = [program("echoscu", "dcmtk"), "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).returncode == 0


def stored(folder):
    """Return the data sets in a folder of files."""
    return [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]


def dciodvfy(file):
    """Return what the validator of dicom3tools says about a file."""
    command = [program("dciodvfy", "dicom3tools"), "-new", file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
