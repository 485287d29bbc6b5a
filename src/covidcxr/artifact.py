"""What a model file says about itself: the contract that travels inside MODEL.onnx as metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from covidcxr.errors import ArtifactError
from covidcxr.images import Preprocessing
from covidcxr.labels import Label

METADATA_KEY = "covidcxr"
INPUT = "image"
"""Graph input: uint8 (N, size, size, 1), as Preprocessing makes it; scaling is part of the graph."""
PROBABILITIES = "probabilities"
"""Graph output: float32 (N, classes), sums to 1."""
ACTIVATION_MAP = "activation_map"
"""Graph output: float32 (N, h, w, classes), the class activation map of every class, unscaled; absent in networks
whose head allows none (Zhou et al. 2016 needs global average pooling and one dense layer)."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The metadata of a model file.

    Attributes:
        name: Short name, such as ``covidcxr-default``.
        version: Version of covidcxr that exported it.
        labels: Classes in the order of the probability columns.
        preprocessing: How a decoded image becomes the network's input.
        recipe: The training recipe as TOML text.
        data_hash: ``manifest.data_hash`` of the training manifest.
        created: Date of the export, ISO 8601.
        licence: Licence of the weights.
        intended_use: One sentence for every place that shows a prediction.
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
    schema: int = field(default=1)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata properties to store in the ONNX file."""
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str) -> "Artifact":
        """Parse the metadata properties of an ONNX file.

        Raises:
            ArtifactError: The contract is missing, of another schema or not valid; the message names ``path``.
        """
        if METADATA_KEY not in metadata:
            raise ArtifactError(f"Expected a model exported by covidcxr. Received {path} without its metadata.")
        try:
            values: dict[str, Any] = json.loads(metadata[METADATA_KEY])
            if values["schema"] != 1:
                raise ValueError(f"schema {values['schema']}, this version reads schema 1")
            values["labels"] = tuple(Label(label) for label in values["labels"])
            values["preprocessing"] = Preprocessing(**values["preprocessing"])
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"Expected valid covidcxr metadata in {path}. Received: {error!r}") from error
