"""Locate the lungs on a radiograph: masks and boxes from the lung network."""

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.errors import ArtifactError
from covidcxr.images.grey import Grey
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.artifact import INPUT, LUNGS
from covidcxr.prediction.session import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

METADATA_KEY = "covidcxr.lungs"
BATCH = 32

Mask = NDArray[np.bool_]
"""bool, shape (height, width) of its image: True for lung."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the image's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_STRAY = 0.005
"""Share of a mask's pixels that a box may leave out on each side, so that stray pixels do not enlarge it."""


class LungSegmenter:
    """A loaded lung network. Safe to share between threads."""

    def __init__(self, session: "InferenceSession", preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._session = session

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load a file written by ``covidcxr lungs train``; None loads the network that comes with the package.

        Raises:
            ArtifactError: No such file, or not a lung network; the message names it.
        """
        if path is None:
            with as_file(files("covidcxr") / "assets" / "lungs.onnx") as shipped:
                return cls.load(shipped)
        session = open_session(path)
        try:
            metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
            return cls(session, Preprocessing(**metadata["preprocessing"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"Expected a lung network of covidcxr. Received {path}: {error!r}") from error

    def probabilities(self, greys: Sequence[Grey]) -> NDArray[np.float32]:
        """Compute the probability of lung at every place.

        Args:
            greys: Decoded images from covidcxr.images.

        Returns:
            float32, shape (n, size, size), 0..1; each is the whole image resized to a square.
        """
        size = self.preprocessing.size
        found = np.empty((len(greys), size, size), np.float32)
        for start in range(0, len(greys), BATCH):
            batch = np.stack([self.preprocessing(grey) for grey in greys[start : start + BATCH]])[..., np.newaxis]
            found[start : start + BATCH] = self._session.run([LUNGS], {INPUT: batch})[0][..., 0]
        return found

    def masks(self, greys: Sequence[Grey]) -> list[Mask]:
        """Locate the lungs, including the parts behind the heart.

        Returns:
            One mask for each image, of its size; empty if the network sees no lung.
        """
        found = self.probabilities(greys)
        return [_at_size(lungs, grey.shape) for lungs, grey in zip(found, greys, strict=True)]


def box(mask: Mask, margin: float) -> Box:
    """Return the box around the lungs.

    Args:
        mask: Mask from LungSegmenter.masks.
        margin: Margin to add on each side, as a share of the box's own width and height, at least 0.

    Returns:
        A box within the image; WHOLE if the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return WHOLE
    (left, right), (top, bottom) = (
        _span(places, side, margin) for places, side in ((columns, mask.shape[1]), (rows, mask.shape[0]))
    )
    return left, top, right, bottom


def _span(places: NDArray[np.intp], side: int, margin: float) -> tuple[float, float]:
    """Return the ends of a box on an axis of ``side`` pixels, as shares of it."""
    low, high = np.quantile(places, [_STRAY, 1 - _STRAY], method="nearest")
    wider = margin * (high + 1 - low)
    return float(max(0, low - wider) / side), float(min(side, high + 1 + wider) / side)


def _at_size(lungs: NDArray[np.float32], shape: tuple[int, ...]) -> Mask:
    height, width = shape
    mask: Mask = np.asarray(Image.fromarray(lungs).resize((width, height), Image.Resampling.BILINEAR)) >= 0.5
    return mask
