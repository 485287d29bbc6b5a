"""The closed set of classes, in the order in which every array and table holds them."""

from enum import StrEnum


class Label(StrEnum):
    """What a radiograph shows. The member order is the class order of every probability array."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    """Pneumonia that is not COVID-19: bacterial, viral, fungal, aspiration."""
    COVID = "covid"


LABELS: tuple[Label, ...] = tuple(Label)
