"""The closed vocabularies: classes, in the order of every array and table, operating points and protocols."""

from enum import StrEnum


class Label(StrEnum):
    """The finding on a radiograph. The member order is the class order of every probability array."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    """Pneumonia that is not COVID-19: bacterial, viral, fungal, aspiration."""
    COVID = "covid"


LABELS: tuple[Label, ...] = tuple(Label)


class PointName(StrEnum):
    """The operating points of a model."""

    SCREENING = "screening"
    """The highest threshold that finds at least 95 % of the validation images with COVID-19."""
    BALANCED = "balanced"
    """The threshold with the largest sum of sensitivity and specificity (Youden 1950)."""


class Protocol(StrEnum):
    """The evaluation protocols; see docs/evaluation.md."""

    CLASSIC = "classic"
    """The published recipe on its own test split."""
    CONTROLS = "controls"
    """The same split by an 8x8 thumbnail and by the name of the collection; healthy adults of another hospital."""
    UNSEEN_HOSPITALS = "unseen-hospitals"
    """Pairs of origins, one with COVID-19 and one with normal images, both left out of training."""
    EXTERNAL = "external"
    """One hospital that took no part in training or in any choice."""
    HELD_OUT = "held-out"
    """Three classes on held-out patients of the training collections."""
