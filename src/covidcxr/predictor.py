"""A model file to predictions: everything that shows a number to a person calls this, and nothing else does."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from covidcxr.artifact import ACTIVATION_MAP, INPUT, PROBABILITIES, Artifact, PointName
from covidcxr.errors import ArtifactError
from covidcxr.images import Grey
from covidcxr.labels import Label

UNIFORM = "the image is uniform: there is nothing to see in it"


@dataclass(frozen=True, kw_only=True)
class ActivationMap:
    """Where the evidence for the predicted class lies (class activation map, Zhou et al. 2016).

    Attributes:
        values: float32, shape (h, w), 0..1, 1 is the strongest place of this image.
        box: Left, top, right, bottom of the map in the whole image, as shares of its width and height.
    """

    values: NDArray[np.float32]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Call:
    """On which side of an operating point an image lies.

    Attributes:
        threshold: Of the operating point, 0..1.
        positive: Whether the probability of COVID-19 is at least the threshold.
    """

    threshold: float
    positive: bool


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says about one image.

    Attributes:
        label: Most probable class, None if the model abstained.
        probabilities: Probability of every class of the model, 0..1, sum 1.
        operating_points: Call at every operating point of the model; empty in models without any and in abstentions.
        abstained: Whether the model declines to answer.
        reason: Why it declined, in plain words; None if it answered.
        flags: What to know before using the number.
        model: Name and hash of the model file.
        activation_map: None in models without one and in abstentions.
    """

    label: Label | None
    probabilities: dict[Label, float]
    operating_points: dict[PointName, Call]
    abstained: bool
    reason: str | None
    flags: tuple[str, ...]
    model: str
    activation_map: ActivationMap | None

    def to_dict(self, path: str) -> dict[str, Any]:
        """Return the JSON object that the command line and the API both give for the image called ``path``."""
        return {
            "path": path,
            "label": self.label,
            "probabilities": {str(label): value for label, value in self.probabilities.items()},
            "operating_points": {str(name): asdict(call) for name, call in self.operating_points.items()},
            "abstained": self.abstained,
            "reason": self.reason,
            "flags": list(self.flags),
            "model": self.model,
        }


class Predictor:
    """A loaded model file. Safe to share between threads."""

    def __init__(self, session: ort.InferenceSession, artifact: Artifact, model: str) -> None:
        self.artifact = artifact
        self.model = model
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> Self:
        """Load a model file.

        Args:
            path: ONNX file exported by covidcxr.
            threads: Threads for one prediction; 0 takes all cores.

        Raises:
            ArtifactError: No such file, not an ONNX file, or without a valid contract; the message names it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle threads sleep: one that spins takes its core from decoding, and from imports while the model loads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # In one piece: file_digest() reads in hundreds, each of which waits for whatever other threads compute.
            with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                digest = hashlib.sha256(content).hexdigest()
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base of its exceptions
            raise ArtifactError(f"Expected a model file in ONNX format. Received {path}: {error}") from error
        artifact = Artifact.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
        return cls(session, artifact, f"{artifact.name}@{digest[:12]}")

    @classmethod
    def default(cls, *, threads: int = 0) -> Self:
        """Load the model that comes with the package."""
        with as_file(files("covidcxr") / "assets" / "covidcxr.onnx") as path:
            return cls.load(path, threads=threads)

    def predict(self, grey: Grey) -> Prediction:
        """Score one decoded image: uint8, shape (height, width), from covidcxr.images."""
        return self.predict_many([grey])[0]

    def predict_many(self, greys: Sequence[Grey]) -> list[Prediction]:
        """Score decoded images in one run of the network, in their order."""
        if not greys:
            return []
        batch = np.stack([self.artifact.preprocessing(grey) for grey in greys])[..., np.newaxis]
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, {INPUT: batch}), strict=True))
        maps = outputs.get(ACTIVATION_MAP, [None] * len(greys))
        return [
            self._prediction(grey, probabilities, class_maps)
            for grey, probabilities, class_maps in zip(greys, outputs[PROBABILITIES], maps, strict=True)
        ]

    def _prediction(
        self, grey: Grey, probabilities: NDArray[np.float32], class_maps: NDArray[np.float32] | None
    ) -> Prediction:
        uniform = bool(grey.min() == grey.max())
        best = int(probabilities.argmax())
        by_label = dict(zip(self.artifact.labels, map(float, probabilities), strict=True))
        activation_map = None
        if class_maps is not None and not uniform:
            activation_map = ActivationMap(
                values=_unit_range(class_maps[..., best]), box=self.artifact.preprocessing.box
            )
        return Prediction(
            label=None if uniform else self.artifact.labels[best],
            probabilities=by_label,
            operating_points={} if uniform else self._calls(by_label),
            abstained=uniform,
            reason=UNIFORM if uniform else None,
            flags=(),
            model=self.model,
            activation_map=activation_map,
        )

    def _calls(self, probabilities: dict[Label, float]) -> dict[PointName, Call]:
        return {
            point.name: Call(threshold=point.threshold, positive=probabilities[Label.COVID] >= point.threshold)
            for point in self.artifact.operating_points
        }


def _unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the positive evidence and divide it by its maximum; all zeros where there is none."""
    positive = np.maximum(values, 0)
    peak = positive.max()
    return positive / peak if peak > 0 else positive
