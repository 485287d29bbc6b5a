"""Images in whatever form a program holds them: files, bytes, arrays, Pillow images, DICOM data sets."""

import os
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.errors import ImageError
from covidcxr.images.decode import MAX_BYTES, decode_image, picture_to_grey, read_image, values_to_grey
from covidcxr.images.grey import LUMA, Grey, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

    ImageSource = str | os.PathLike[str] | bytes | bytearray | BinaryIO | NDArray[Any] | Image.Image | Dataset
    """An image in any form that as_grey takes."""


def as_grey(image: "ImageSource") -> Grey:
    """Convert an image to grey values.

    Args:
        image: One of

            - a path, the bytes of a file, or a file opened in binary mode: PNG, JPEG, TIFF, BMP, WebP or DICOM;
            - an array of shape (height, width), (height, width, 1) or (height, width, 3) for RGB, larger is brighter:
              uint8 is taken as it is; other types are shown between the 0.1 and 99.9 percentiles, like 16-bit files;
            - a Pillow image, of which the current frame counts;
            - a pydicom data set with one frame.

    Returns:
        uint8, shape (height, width); see covidcxr.images.grey.Grey.

    Raises:
        ImageError: The image is broken, too small, too large or of an unsupported kind; the message says what it is.
        TypeError: None of these forms.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, bytes | bytearray):
        return decode_image(bytes(image), "bytes")
    if hasattr(image, "read"):
        return decode_image(image.read(MAX_BYTES + 1), str(getattr(image, "name", "a file")))
    try:
        if isinstance(image, Image.Image):
            return picture_to_grey(image)
        if isinstance(image, np.ndarray):
            return _array_to_grey(image)
        if (grey := _dataset_to_grey(image)) is not None:
            return grey
        if hasattr(image, "__array__"):  # an array of another library
            return _array_to_grey(np.asarray(image))
    except Exception as error:  # as in decode_image
        reason = str(error) or repr(error)
        raise ImageError(f"Expected an image. Received {type(image).__name__}: {reason.rstrip('.')}.") from error
    raise TypeError(
        "Expected a path, bytes, a binary file, an array, a Pillow image or a pydicom data set. "
        f"Received {type(image).__name__}."
    )


def _dataset_to_grey(image: object) -> Grey | None:
    from pydicom import Dataset  # here: pydicom costs 0.1 s

    from covidcxr.images.dicom import decode_dataset

    return decode_dataset(deepcopy(image)) if isinstance(image, Dataset) else None


def _array_to_grey(values: NDArray[Any]) -> Grey:
    if values.dtype.kind not in "biuf":
        raise ImageError(f"values of type {values.dtype}")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 and values.shape[2:] != (3,):
        raise ImageError(f"shape {values.shape}, neither (height, width) nor (height, width, 3)")
    check_size(values.shape[1], values.shape[0])
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    if values.dtype == np.uint8 or (values.dtype.kind == "u" and values.dtype.itemsize == 2 and values.ndim == 2):
        native = values.astype(values.dtype.newbyteorder("="))
        return picture_to_grey(Image.fromarray(np.ascontiguousarray(native)))
    return values_to_grey(values if values.ndim == 2 else values.astype(np.float32) @ LUMA)
