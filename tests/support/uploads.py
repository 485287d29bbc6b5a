"""Image files in memory, for the tests of what takes uploads."""

import io
import warnings

import numpy as np
from PIL import Image

from support import dicom_objects
from support.dicom_objects import write


def picture(pixels, kind="PNG", **options):
    """Encode an array of pixels as a picture file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def dicom(grey, **elements):
    """Encode a grey image as an uncompressed DICOM object of 12 bits, window and all; ``elements`` sets any element."""
    with warnings.catch_warnings(action="ignore"):  # elements that break the standard are what some tests want
        stored = grey.astype(np.uint16) * 16
        return write(dicom_objects.dicom(stored, bits=12, **{"WindowCenter": 2048, "WindowWidth": 4096} | elements))


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
