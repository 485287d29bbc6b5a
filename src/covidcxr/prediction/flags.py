"""What a reader must know before using a prediction: closed codes for programs, plain words for people."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FlagCode(StrEnum):
    """Everything that can be held against an image or against what the model says of it."""

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
    FlagCode.UNIFORM: "the image is uniform: there is nothing to see in it",
    FlagCode.TOO_SMALL: "the image has too few pixels to show what a radiograph shows",
    FlagCode.BADLY_EXPOSED: "nearly all of the image is black or white: too little of it can be seen",
    FlagCode.NOT_A_CHEST_XRAY: "this does not look like a chest X-ray",
    FlagCode.CT: "this looks like a slice of a CT, and the model knows radiographs only",
    FlagCode.LATERAL: "this looks like a lateral view, and the model knows frontal views only",
    FlagCode.CHILD: "this looks like a child, and the model has seen no child with COVID-19: it would tell the age",
    FlagCode.UNLIKE_TRAINING: "this is unlike everything that the model was trained on",
    FlagCode.UNCERTAIN: "too uncertain: the model cannot rule out any of its classes",
}
"""One reason each, to go on after "No answer:"."""


@dataclass(frozen=True)
class Flag:
    """One thing to know about an image.

    Attributes:
        code: Which one.
        declines: Whether the model gives no answer because of it.
    """

    code: FlagCode
    declines: bool = True

    @property
    def text(self) -> str:
        """The reason in plain words."""
        return TEXTS[self.code]
