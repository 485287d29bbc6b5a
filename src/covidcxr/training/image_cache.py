"""Cache of decoded and preprocessed images on disk, shared by trainings on the same images."""

import hashlib
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from covidcxr import __version__
from covidcxr._files import whole
from covidcxr.data.manifest import Record
from covidcxr.errors import ImageError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing


class ImageCache:
    """One file per image, in one folder per preprocessing; each file appears complete or not at all.

    Several processes may share a folder, and each may be stopped at any time. The first image found in the cache is
    decoded anyway and compared, which reveals pixels that an older version of the code wrote.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing) -> None:
        made_by = f"{preprocessing!r} covidcxr {__version__} pillow {PIL.__version__}"
        self._folder = folder / hashlib.sha256(made_by.encode()).hexdigest()[:16]
        self._preprocessing = preprocessing
        self._compared = False

    def image(self, record: Record) -> NDArray[np.uint8]:
        """Return the input of the network for an image: uint8, shape (size, size).

        Raises:
            ImageError: The file cannot be decoded, or the cache contains different pixels.
        """
        path = self._folder / record.sha256[:2] / f"{record.sha256}.npy"
        found = self._read(path)
        if found is not None and self._compared:
            return found
        image = self._preprocessing(read_image(record.path))
        if found is None:
            _write(path, image)
        elif not np.array_equal(found, image):
            raise ImageError(f"Expected {path} to equal {record.path}. Received different pixels: delete the cache.")
        else:
            self._compared = True
        return image

    def _read(self, path: Path) -> NDArray[np.uint8] | None:
        """Return a cached image; None if there is none or its file is damaged."""
        try:
            found: NDArray[np.uint8] = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError):
            return None
        side = self._preprocessing.size
        return found if found.shape == (side, side) and found.dtype == np.uint8 else None


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, sync=False) as partial:
        np.save(partial, image)
