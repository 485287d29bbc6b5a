"""Reasons to distrust or decline a prediction: closed codes for programs, sentences for people."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FlagCode(StrEnum):
    """Everything that can be wrong with an image, or with the model's answer."""

    UNIFORM = "uniform"
    TOO_SMALL = "too_small"
    BADLY_EXPOSED = "badly_exposed"
    NOT_A_CHEST_XRAY = "not_a_chest_xray"
    CT = "ct"
    LATERAL = "lateral"
    CHILD = "child"
    UNLIKE_TRAINING = "unlike_training"
    UNCERTAIN = "uncertain"


TEXTS: Final = {
    FlagCode.UNIFORM: "The image is uniform; it shows nothing.",
    FlagCode.TOO_SMALL: "The image has too few pixels to show the details of a radiograph.",
    FlagCode.BADLY_EXPOSED: "Nearly all of the image is black or white; too little of it can be seen.",
    FlagCode.NOT_A_CHEST_XRAY: "This does not look like a chest X-ray.",
    FlagCode.CT: "This looks like a CT slice. The model only knows radiographs.",
    FlagCode.LATERAL: "This looks like a lateral view. The model only knows frontal views.",
    FlagCode.CHILD: "This looks like a child. The model never saw a child with COVID-19, so its answer would reflect "
    "age, not disease.",
    FlagCode.UNLIKE_TRAINING: "This is unlike anything in the model's training data.",
    FlagCode.UNCERTAIN: "The model cannot rule out any of its classes.",
}
"""One or two full sentences for each code."""


@dataclass(frozen=True)
class Flag:
    """A reason to distrust or decline the prediction for an image.

    Attributes:
        code: Which reason.
        declines: Whether the model declines to answer because of it.
    """

    code: FlagCode
    declines: bool = True

    @property
    def text(self) -> str:
        """The reason in full sentences."""
        return TEXTS[self.code]
