"""Turn a grey array into the input of a network: the only place where this happens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from covidcxr.images.frame import Box, Frame, Lungs, cut, frame_lungs
from covidcxr.images.grey import MIN_SIDE, Grey

FEWEST = 200
"""Pixels, of 224 x 224, whose ranks are used; fewer would be those of noise."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The conversion of a grey image to a network input; part of every model file.

    Attributes:
        size: Side of the square network input in pixels.
        crop: Share of the height and of the width that is kept, centred, in (0, 1]; 1 with a frame.
        equalize: Whether the histogram of the result is equalised, so that strictly increasing changes of the grey
            values (window, gamma, exposure) leave it almost unchanged.
        blur: Standard deviation in network pixels of a Gaussian blur before equalising, at least 0; 0 turns it off. It
            removes traces of resampling, compression and sharpening.
        frame: If given, the network sees the square around the lungs instead of ``crop``, with sides that are longer
            than the lungs by this share, at least 0; and a second channel: the probability of lung, 0 to 255.
    """

    size: int
    crop: float = 1.0
    equalize: bool
    blur: float = 0.0
    frame: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= MIN_SIDE):
            raise ValueError(f"Expected a size of at least {MIN_SIDE} pixels. Received {self.size!r}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"Expected a crop in (0, 1]. Received {self.crop!r}.")
        if not self.blur >= 0:
            raise ValueError(f"Expected a blur of at least 0. Received {self.blur!r}.")
        if self.frame is not None and not (self.frame >= 0 and self.crop == 1):
            raise ValueError(f"Expected a frame of at least 0 and no crop beside it. Received {self}.")

    @property
    def channels(self) -> int:
        """Number of channels of the network's input: 2 with a frame, else 1."""
        return 1 if self.frame is None else 2

    def seen(self, width: int, height: int, lungs: Lungs | None = None) -> Frame:
        """Return the part of a picture that the network sees.

        Args:
            width: Columns of the picture.
            height: Rows of the picture.
            lungs: Where its lungs are; needed with a frame.
        """
        if self.frame is None:
            margin = (1 - self.crop) / 2
            return Frame(margin * width, margin * height, (1 - margin) * width, (1 - margin) * height)
        if lungs is None:
            raise ValueError("Expected the lungs of a picture to be framed. Received none.")
        return frame_lungs(lungs, width, height, self.frame)

    def __call__(self, grey: Grey, lungs: Lungs | None = None) -> NDArray[np.uint8]:
        """Cut out what the network sees, resize (antialiased bilinear), blur and equalise.

        Args:
            grey: uint8, shape (height, width).
            lungs: Where its lungs are; needed with a frame.

        Returns:
            uint8, shape (size, size, channels).
        """
        height, width = grey.shape
        frame = self.seen(width, height, lungs)
        image = Image.fromarray(cut(grey, frame, self.size, self.size))
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        if self.frame is None or lungs is None:
            return np.asarray(ImageOps.equalize(image) if self.equalize else image)[..., np.newaxis]
        values, inside = np.asarray(image), self._lungs_in(frame.in_shares(width, height), lungs)
        return np.stack([equalised(values, inside) if self.equalize else values, inside], axis=-1)

    def _lungs_in(self, box: Box, lungs: Lungs) -> NDArray[np.uint8]:
        """Return the probability of lung, 0..255, in the frame: uint8, shape (size, size)."""
        rows, columns = lungs.shape
        left, top, right, bottom = box
        squeezed = Frame(left * columns, top * rows, right * columns, bottom * rows)
        return cut(np.rint(255 * lungs).astype(np.uint8), squeezed, self.size, self.size)


def equalised(values: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give every grey value the mean of its ranks in the whole picture and in the lungs.

    Ranks in the whole picture alone would make lungs darker or brighter with the share of the picture that they fill.

    Args:
        values: uint8, shape (size, size); black is taken for what lies beyond the picture.
        lungs: Probability of lung, 0..255, of the same shape.

    Returns:
        uint8, of the same shape.
    """
    whole = np.bincount(values[values > 0], minlength=256)
    inside = np.bincount(values[lungs > 127], minlength=256)
    ranks = [(counts.cumsum() - counts / 2) / counts.sum() for counts in (whole, inside) if counts.sum() >= FEWEST]
    if not ranks:
        return values
    table: NDArray[np.uint8] = np.floor(255 * np.mean(ranks, axis=0) + 0.5).astype(np.uint8)
    return table[values]
