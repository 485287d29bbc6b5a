"""Decoded and preprocessed images on disk, for trainings that look at the same pictures again."""

import hashlib
import os
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from covidcxr import __version__
from covidcxr.data.manifest import Record
from covidcxr.errors import ImageError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing


class ImageCache:
    """One small file an image in a folder of its preprocessing; each appears whole or not at all.

    Any number of processes may share a folder, and any of them may be stopped at any time. The first image that is
    found is decoded all the same and compared: pictures that another state of the code made are noticed.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing) -> None:
        made_by = f"{preprocessing!r} covidcxr {__version__} pillow {PIL.__version__}"
        self._folder = folder / hashlib.sha256(made_by.encode()).hexdigest()[:16]
        self._preprocessing = preprocessing
        self._compared = False

    def image(self, record: Record) -> NDArray[np.uint8]:
        """Return what the predictor would feed to the network: uint8, shape (size, size).

        Raises:
            ImageError: The file cannot be decoded, or the folder holds other pixels than it gives now.
        """
        path = self._folder / record.sha256[:2] / f"{record.sha256}.npy"
        found = self._read(path)
        if found is not None and self._compared:
            return found
        image = self._preprocessing(read_image(record.path))
        if found is None:
            _write(path, image)
        elif not np.array_equal(found, image):
            raise ImageError(f"Expected {path} to hold what {record.path} gives. Received other pixels: delete it all.")
        else:
            self._compared = True
        return image

    def _read(self, path: Path) -> NDArray[np.uint8] | None:
        """Return a cached image; None where there is none or the disk has lost a part of it."""
        try:
            found: NDArray[np.uint8] = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError):
            return None
        side = self._preprocessing.size
        return found if found.shape == (side, side) and found.dtype == np.uint8 else None


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.save(file, image)
    partial.replace(path)
