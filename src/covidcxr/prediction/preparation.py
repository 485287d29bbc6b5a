"""From decoded images to the input of a network: the one way that training, prediction and audit share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidcxr.images.frame import Box, Lungs
from covidcxr.images.grey import Grey
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import LungSegmenter


@dataclass(frozen=True)
class Prepared:
    """Images ready for a network.

    Attributes:
        inputs: uint8, shape (n, size, size, channels).
        lungs: Probability of lung of each whole image: float32, shape (n, side, side); None without a frame.
        boxes: What the network sees of each image.
    """

    inputs: NDArray[np.uint8]
    lungs: Lungs | None
    boxes: list[Box]


@dataclass(frozen=True)
class Preparation:
    """The preprocessing of a network, and the network that locates the lungs for its frame.

    Attributes:
        preprocessing: Preprocessing of the model.
        segmenter: Lung network; None if the preprocessing has no frame.
    """

    preprocessing: Preprocessing
    segmenter: LungSegmenter | None = None

    def __post_init__(self) -> None:
        if (self.preprocessing.frame is None) != (self.segmenter is None):
            raise ValueError("Expected a lung network with a frame, and none without.")

    @classmethod
    def shipped(cls, preprocessing: Preprocessing) -> "Preparation":
        """Return the preparation with the lung network that comes with the package."""
        return cls(preprocessing, None if preprocessing.frame is None else LungSegmenter.load())

    def __call__(self, greys: Sequence[Grey]) -> Prepared:
        """Prepare decoded images, at least one."""
        lungs = self.segmenter.probabilities(greys) if self.segmenter else None
        return self.framed(greys, lungs)

    def framed(self, greys: Sequence[Grey], lungs: Lungs | None) -> Prepared:
        """Prepare decoded images whose lungs are known; see Prepared."""
        inputs, boxes = [], []
        for number, grey in enumerate(greys):
            own = None if lungs is None else lungs[number]
            height, width = grey.shape
            inputs.append(self.preprocessing(grey, own))
            boxes.append(self.preprocessing.seen(width, height, own).in_shares(width, height))
        return Prepared(np.stack(inputs), lungs, boxes)
