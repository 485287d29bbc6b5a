"""Descriptions of model files of other makers: what they take and give, stated in a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.errors import ArtifactError
from covidcxr.images.grey import Grey
from covidcxr.labels import Label


class Layout(StrEnum):
    """Order of the axes of a network's input."""

    NHWC = "NHWC"
    NCHW = "NCHW"


class Resize(StrEnum):
    """Interpolation of a resized image."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class OutputKind(StrEnum):
    """Meaning of a network's numbers."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """Conversion of a grey image to a network's input: ``(grey * scale + offset - mean) / std`` in each channel.

    Attributes:
        size: Side of the square input in pixels.
        channels: 1, or 3 equal channels.
        scale: Factor of the grey values, which are 0..255.
        offset: Added after that.
        mean: Mean of each channel, subtracted after that.
        std: Standard deviation of each channel, divided by at the end; above 0.
        layout: Order of the axes.
        resize: Interpolation; the aspect ratio is not kept.
    """

    size: int
    channels: int = 1
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout = Layout.NHWC
    resize: Resize = Resize.BILINEAR

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size > 0):
            raise ValueError(f"Expected a size in pixels. Received {self.size!r}.")
        if self.channels not in (1, 3):
            raise ValueError(f"Expected 1 or 3 channels. Received {self.channels!r}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"Expected a {name} of 1 or {self.channels} numbers. Received {values}.")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"Expected a std above 0. Received {self.std}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Parse a table ``[preprocessing]``.

        Raises:
            ValueError, KeyError, TypeError: The table is not valid.
        """
        kinds: dict[str, Any] = {"mean": tuple, "std": tuple, "layout": Layout, "resize": Resize}
        return cls(**{name: kinds[name](value) if name in kinds else value for name, value in values.items()})

    def __call__(self, grey: Grey) -> NDArray[np.float32]:
        """Convert one image: float32, in the layout without N."""
        how = Image.Resampling[self.resize.name]
        square: NDArray[np.float32] = np.asarray(Image.fromarray(grey).resize((self.size, self.size), how), np.float32)
        values: NDArray[np.float32] = np.repeat(square[..., np.newaxis], self.channels, axis=2) * np.float32(self.scale)
        values += np.float32(self.offset)
        values -= np.array(self.mean, np.float32)
        values /= np.array(self.std, np.float32)
        return np.ascontiguousarray(values if self.layout is Layout.NHWC else values.transpose(2, 0, 1), np.float32)


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a model file.

    Attributes:
        labels: Classes in the order of the columns.
        preprocessing: Format of the input.
        output: Meaning of the numbers.
        positive: Class of a single column.
        outputs: Names of the outputs ``scores``, ``map`` (N, h, w, classes) and ``embedding`` (N, features) of an ONNX
            file, if it has them; ``scores`` defaults to the first.
    """

    labels: tuple[Label, ...]
    preprocessing: InputFormat
    output: OutputKind = OutputKind.PROBABILITIES
    positive: Label = Label.COVID
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"Expected at least two different labels. Received {self.labels}.")
        if Label.COVID not in self.labels or self.positive not in self.labels:
            raise ValueError(f"Expected covid, and {self.positive}, among the labels. Received {self.labels}.")
        unknown = set(self.outputs) - {"scores", "map", "embedding"}
        if unknown:
            raise ValueError(f"Expected outputs named scores, map or embedding. Received {', '.join(sorted(unknown))}.")

    def probabilities(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Turn the network's columns into probabilities.

        Args:
            values: float, shape (n, classes), or (n, 1) for the positive one of two classes.

        Returns:
            float64, shape (n, classes), 0..1.

        Raises:
            ValueError: Wrong number of columns, or values outside 0..1.
        """
        scores = np.asarray(values, np.float64).reshape(len(values), -1)
        if scores.shape[1] not in ({1, 2} if len(self.labels) == 2 else {len(self.labels)}):
            raise ValueError(f"Expected {len(self.labels)} columns, as many as labels. Received {scores.shape[1]}.")
        single = scores.shape[1] == 1
        if self.output is OutputKind.LOGITS:
            scores = 1 / (1 + np.exp(-scores)) if single else _softmax(scores)
        if scores.min() < 0 or scores.max() > 1 + 1e-6:
            raise ValueError(f"Expected probabilities in 0..1. Received {scores.min():.3g} to {scores.max():.3g}.")
        if single:
            scores = np.hstack([1 - scores, scores])
            return scores if self.labels[1] is self.positive else scores[:, ::-1]
        return scores


def read_description(path: Path) -> Description:
    """Read the TOML file of ``covidcxr audit --describe``.

    Raises:
        ArtifactError: The file is missing or not a valid description; the message names it.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        kinds: dict[str, Any] = {"output": OutputKind, "positive": Label}
        given: dict[str, Any] = {name: kinds[name](value) if name in kinds else value for name, value in values.items()}
        given["labels"] = tuple(Label(label) for label in values["labels"])
        given["preprocessing"] = InputFormat.from_dict(values["preprocessing"])
        return Description(**given)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"Expected a description with labels and a table [preprocessing], see docs/audit.md. "
            f"Received {path}: {error!r}"
        ) from error


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
