"""Turn a grey array into the input of a network: the only place where this happens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from covidcxr.images.grey import MIN_SIDE, Grey


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The conversion of a grey image to a network input; part of every model file.

    Attributes:
        size: Side of the square network input in pixels.
        crop: Share of the height and of the width that is kept, centred, in (0, 1].
        equalize: Whether the histogram of the result is equalised, so that strictly increasing changes of the grey
            values (window, gamma, exposure) leave it almost unchanged.
        blur: Standard deviation in network pixels of a Gaussian blur before equalising, at least 0; 0 turns it off. It
            removes traces of resampling, compression and sharpening.
    """

    size: int
    crop: float
    equalize: bool
    blur: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= MIN_SIDE):
            raise ValueError(f"Expected a size of at least {MIN_SIDE} pixels. Received {self.size!r}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"Expected a crop in (0, 1]. Received {self.crop!r}.")
        if not self.blur >= 0:
            raise ValueError(f"Expected a blur of at least 0. Received {self.blur!r}.")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the part that the network sees, as shares of the width and height."""
        margin = (1 - self.crop) / 2
        return margin, margin, 1 - margin, 1 - margin

    def __call__(self, grey: Grey) -> NDArray[np.uint8]:
        """Crop, resize (antialiased bilinear, aspect ratio not kept), blur and equalise.

        Args:
            grey: uint8, shape (height, width).

        Returns:
            uint8, shape (size, size).
        """
        height, width = grey.shape
        left, top, right, bottom = self.box
        box = (left * width, top * height, right * width, bottom * height)
        image = Image.fromarray(grey).resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        return np.asarray(ImageOps.equalize(image) if self.equalize else image)
