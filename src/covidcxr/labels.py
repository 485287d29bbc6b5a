"""The closed sets of classes, in the order in which every array and table holds them, and of operating points."""

from enum import StrEnum


class Label(StrEnum):
    """What a radiograph shows. The member order is the class order of every probability array."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    """Pneumonia that is not COVID-19: bacterial, viral, fungal, aspiration."""
    COVID = "covid"


LABELS: tuple[Label, ...] = tuple(Label)


class PointName(StrEnum):
    """The operating points that a model can have."""

    SCREENING = "screening"
    """Misses few: the largest threshold that finds at least 95 % of the validation images with COVID-19."""
    BALANCED = "balanced"
    """The largest sum of sensitivity and specificity (Youden 1950)."""
