"""Image files in memory, for the tests of what takes uploads."""

import io
import warnings

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def picture(pixels, kind="PNG", **options):
    """Encode an array of pixels as a picture file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def dicom(grey, **elements):
    """Encode a grey image as an uncompressed DICOM object of 12 bits, window and all; ``elements`` sets any element."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["uploads"])
    ds.Modality = "CR"
    ds.Rows, ds.Columns = grey.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.PixelData = (grey.astype(np.uint16) * 16).tobytes()
    with warnings.catch_warnings(action="ignore"):  # elements that break the standard are what some tests want
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


BOUNDARY = "edge-of-a-part"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
"""Content type of the bodies that multipart makes."""


def multipart(files, fields=()):
    """Encode a request: (name, bytes) pairs in the field ``file``, then (field, text) pairs."""
    heads = [f'name="file"; filename="{name}"' for name, _ in files] + [f'name="{field}"' for field, _ in fields]
    contents = [content for _, content in files] + [text.encode() for _, text in fields]
    parts = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in zip(heads, contents, strict=True)
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
