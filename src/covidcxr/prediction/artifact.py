"""The contract of a model file, stored in MODEL.onnx as metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from covidcxr.errors import ArtifactError
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import Label, PointName
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.gate import Check
from covidcxr.prediction.verdict import Audit

METADATA_KEY = "covidcxr"
INPUT = "image"
"""Graph input: uint8 (N, size, size, 1), the result of Preprocessing; scaling is part of the graph."""
PROBABILITIES = "probabilities"
"""Graph output: float32 (N, classes), sums to 1."""
ACTIVATION_MAP = "activation_map"
"""Graph output: float32 (N, h, w, classes), the class activation map of every class, unscaled; absent in networks
without global average pooling followed by one dense layer (Zhou et al. 2016)."""
EMBEDDING = "embedding"
"""Graph output: float32 (N, features), the input of the last layer."""
LUNGS = "lungs"
"""Graph output: float32 (N, h, w, 1), probability of lung in each cell of the activation map, 0..1; absent in networks
that do not locate the lungs."""
GATE = "gate"
"""Graph output: float32 (N, checks), a score for each of Artifact.gate; absent in models without a gate."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on the probability of COVID-19, and its results on the validation images that it was chosen on.

    Attributes:
        name: Name of the point.
        threshold: An image is positive if its probability of COVID-19 is at least this, 0..1.
        sensitivity: Share of the validation images with COVID-19 that are positive, 0..1.
        sensitivity_interval: Ends of its 95 % interval, from a bootstrap over groups.
        specificity: Share of the other validation images that are not positive, 0..1.
        specificity_interval: Ends of its 95 % interval.
        images: Number of validation images.
        groups: Number of their groups: patients joined with their near-duplicates.
    """

    name: PointName
    threshold: float
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    images: int
    groups: int

    def __post_init__(self) -> None:
        shares = {
            "threshold": [self.threshold],
            "sensitivity": [self.sensitivity, *self.sensitivity_interval],
            "specificity": [self.specificity, *self.specificity_interval],
        }
        for name, values in shares.items():
            if not all(0 <= value <= 1 for value in values):
                raise ValueError(f"Expected a {name} in 0..1. Received {values}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the point whose ``dataclasses.asdict`` went through JSON, which has neither enums nor tuples.

        Raises:
            ValueError, KeyError, TypeError: Not such a point.
        """
        intervals = {name: tuple(values[name]) for name in ("sensitivity_interval", "specificity_interval")}
        return cls(**{**values, **intervals, "name": PointName(values["name"])})


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The metadata of a model file.

    Attributes:
        name: Short name, such as ``covidcxr-default``.
        version: Version of covidcxr that exported the file.
        labels: Classes in the order of the probability columns.
        preprocessing: Conversion of a decoded image to the network's input.
        recipe: Training recipe as TOML text.
        data_hash: ``manifest.data_hash`` of the training manifest.
        created: Date of the export, ISO 8601.
        licence: Licence of the weights.
        intended_use: One sentence, shown with every prediction.
        temperature: Divisor of the scores before softmax, above 0, already part of the graph (Guo et al. 2017).
        operating_points: Thresholds on the probability of COVID-19; empty in models without validation groups.
        conformal: Prediction sets and intervals; None in models without validation groups.
        gate: Checks on the columns of the output ``gate``, the most important first; empty in models without one.
        audit: Outcome of ``covidcxr audit``; None in models that were never audited.
        schema: Version of this contract.
    """

    name: str
    version: str
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    recipe: str
    data_hash: str
    created: str
    licence: str
    intended_use: str
    temperature: float = 1.0
    operating_points: tuple[OperatingPoint, ...] = ()
    conformal: Conformal | None = None
    gate: tuple[Check, ...] = ()
    audit: Audit | None = None
    schema: int = field(default=1)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Expected a temperature above 0. Received {self.temperature!r}.")
        if self.operating_points and Label.COVID not in self.labels:
            raise ValueError(f"Expected no operating points without the class covid. Received {self.labels}.")

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata properties to store in the ONNX file."""
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str) -> "Artifact":
        """Parse the metadata properties of an ONNX file.

        Raises:
            ArtifactError: The contract is missing, invalid or of another schema; the message names ``path``.
        """
        if METADATA_KEY not in metadata:
            raise ArtifactError(f"Expected a model exported by covidcxr. Received {path} without its metadata.")
        try:
            values: dict[str, Any] = json.loads(metadata[METADATA_KEY])
            if values["schema"] != 1:
                raise ValueError(f"schema {values['schema']}, this version reads schema 1")
            values["labels"] = tuple(Label(label) for label in values["labels"])
            values["preprocessing"] = Preprocessing(**values["preprocessing"])
            points = values.get("operating_points", ())
            values["operating_points"] = tuple(OperatingPoint.from_dict(point) for point in points)
            values["gate"] = tuple(Check.from_dict(check) for check in values.get("gate", ()))
            for name, kind in (("conformal", Conformal), ("audit", Audit)):
                values[name] = kind.from_dict(values[name]) if values.get(name) else None
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"Expected valid covidcxr metadata in {path}. Received: {error!r}") from error
