"""Turn decoded images into predictions with a model file. Every number that a person sees comes from here."""

import hashlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import as_file, files
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from covidcxr import DISCLAIMER
from covidcxr.images.grey import Grey
from covidcxr.labels import Label, PointName
from covidcxr.prediction.artifact import ACTIVATION_MAP, EMBEDDING, GATE, INPUT, LUNGS, PROBABILITIES, Artifact
from covidcxr.prediction.fields import to_object
from covidcxr.prediction.flags import Flag, FlagCode
from covidcxr.prediction.gate import pixel_flags, score_flags
from covidcxr.prediction.session import open_session
from covidcxr.prediction.verdict import Audit

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

LUNG = 0.5
"""Lowest probability with which a cell of the activation map counts as lung."""
AT_ONCE = 4
"""Batch size of one inference call. Activations of larger batches exceed the core's cache and slow every image down
(docs/performance.md)."""


@dataclass(frozen=True, kw_only=True)
class ActivationMap:
    """The places of the evidence (class activation map, Zhou et al. 2016).

    Attributes:
        values: float32, shape (h, w), 0..1: evidence for the predicted class; 1 at the strongest place of this image.
        contrast: float32, shape (h, w), -1..1: evidence for COVID-19 above 0, for another pneumonia below 0; None in
            models that lack one of these classes.
        lung_share: Share of ``values`` in the lungs, 0..1; None if ``values`` are all zero or ``lungs`` is None.
        lungs: float32, shape (h, w), 0..1: probability of lung in each cell; None if the network does not locate lungs.
        box: Left, top, right, bottom of the map in the whole image, as shares of its width and height.
    """

    values: NDArray[np.float32]
    box: tuple[float, float, float, float]
    contrast: NDArray[np.float32] | None = None
    lung_share: float | None = None
    lungs: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The result of an image at an operating point.

    Attributes:
        threshold: Threshold of the operating point, 0..1.
        positive: Whether the probability of COVID-19 is at least the threshold.
    """

    threshold: float
    positive: bool


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction:
    """The answer of a model for one image.

    Attributes:
        label: Most probable class; None if the model declines to answer.
        probabilities: Probability of every class of the model, 0..1; they sum to 1.
        interval: Ends of the interval of the probability of COVID-19, 0..1; None in models without calibration. See
            covidcxr.prediction.conformal.
        prediction_set: Classes that remain possible; None in models without calibration.
        operating_points: Decision at each operating point; empty in models without any, and if the model declines.
        flags: Reasons to distrust or decline the prediction, the most important first.
        model: Name and start of the sha256 of the model file.
        audit: Outcome of the model's shortcut audit; None if it was never audited.
        activation_map: Places of the evidence; None in models without maps, and if the model declines.
    """

    label: Label | None
    probabilities: dict[Label, float]
    interval: tuple[float, float] | None
    prediction_set: tuple[Label, ...] | None
    operating_points: dict[PointName, Decision]
    flags: tuple[Flag, ...]
    model: str
    audit: Audit | None
    activation_map: ActivationMap | None

    def __repr__(self) -> str:
        shares = ", ".join(f"{label} {100 * share:.1f} %" for label, share in self.probabilities.items())
        interval = [f"COVID-19 {' to '.join(f'{100 * end:.1f}' for end in self.interval)} %."] if self.interval else []
        points = [f"{'Above' if at.positive else 'Below'} {name}." for name, at in self.operating_points.items()]
        numbers = [] if self.abstained else [*interval, *points]
        return (
            f"{'no answer' if self.abstained else f'{self.label} ({shares})'}\n"
            f"{' '.join([*numbers, *(flag.text for flag in self.flags)]) or 'No flags.'}\n"
            f"{self.model}, audit: {self.audit.verdict if self.audit else 'none'}. {DISCLAIMER}"
        )

    @property
    def abstained(self) -> bool:
        """Whether the model declines to answer."""
        return self.label is None

    @property
    def reason(self) -> str | None:
        """Why the model declines, as a sentence; None if it answers."""
        return next((flag.text for flag in self.flags if flag.declines), None)

    @property
    def lung_share(self) -> float | None:
        """Share of the activation map in the lungs, 0..1; None without a map, or if lungs are not located."""
        return self.activation_map.lung_share if self.activation_map else None

    def to_dict(self, path: str) -> dict[str, Any]:
        """Return the JSON object for the image called ``path``; covidcxr.prediction.fields lists its keys."""
        return to_object(self, path)


class Predictor:
    """A loaded model file. Safe to share between threads.

    Attributes:
        artifact: Contract of the file.
        model: Name and start of the sha256 of the file.
        outputs: Names of the network's outputs; see covidcxr.prediction.artifact.

    Example:
        A drawn radiograph; covidcxr.images.decode.read_image decodes a file.

        >>> from covidcxr.images.phantom import radiograph
        >>> grey = radiograph(np.random.default_rng(0), size=(1024, 896))
        >>> prediction = Predictor.load().predict(grey)
        >>> [str(label) for label in prediction.probabilities]
        ['normal', 'pneumonia', 'covid']
        >>> prediction.abstained
        False
    """

    def __init__(self, session: "InferenceSession", artifact: Artifact, model: str) -> None:
        self.artifact = artifact
        self.model = model
        self._session = session
        self.outputs = frozenset(output.name for output in session.get_outputs())

    @classmethod
    def load(cls, path: Path | None = None, *, threads: int = 0) -> Self:
        """Load a model file.

        Args:
            path: ONNX file exported by covidcxr; None loads the model that comes with the package.
            threads: Threads for one prediction; 0 takes all cores.

        Raises:
            ArtifactError: No such file, not an ONNX file, or without a valid contract; the message names it.
        """
        if path is None:
            with as_file(files("covidcxr") / "assets" / "covidcxr.onnx") as shipped:
                return cls.load(shipped, threads=threads)
        with ThreadPoolExecutor(1) as other_core:
            hashing = other_core.submit(_sha256, path)
            session = open_session(path, threads=threads)
        artifact = Artifact.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
        return cls(session, artifact, f"{artifact.name}@{hashing.result()[:12]}")

    def predict(self, grey: Grey) -> Prediction:
        """Score a decoded image: uint8, shape (height, width), from covidcxr.images."""
        return self.predict_many([grey])[0]

    def predict_many(self, greys: Sequence[Grey]) -> list[Prediction]:
        """Score decoded images, in their order."""
        if not greys:
            return []
        outputs = self.run(greys, self.outputs - {EMBEDDING})
        return [
            self._prediction(grey, {name: values[index] for name, values in outputs.items()})
            for index, grey in enumerate(greys)
        ]

    def run(self, greys: Sequence[Grey], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Return raw outputs of the network.

        Args:
            greys: Decoded images, at least one.
            names: Names of outputs, from ``outputs``.

        Returns:
            Arrays by name; see covidcxr.prediction.artifact for shapes.
        """
        batch = np.stack([self.artifact.preprocessing(grey) for grey in greys])[..., np.newaxis]
        parts = [
            self._session.run(list(names), {INPUT: batch[start : start + AT_ONCE]})
            for start in range(0, len(batch), AT_ONCE)
        ]
        return {name: np.concatenate(values) for name, *values in zip(names, *parts, strict=True)}

    def _prediction(self, grey: Grey, outputs: dict[str, NDArray[np.float32]]) -> Prediction:
        artifact = self.artifact
        by_label = dict(zip(artifact.labels, map(float, outputs[PROBABILITIES]), strict=True))
        conformal, prediction_set, interval = artifact.conformal, None, None
        if conformal:
            possible = conformal.prediction_set(list(by_label.values()))
            prediction_set = tuple(artifact.labels[index] for index in possible)
            interval = conformal.interval(by_label[Label.COVID])
        flags = pixel_flags(grey)
        if artifact.gate and not flags:
            flags = score_flags(artifact.gate, outputs[GATE])
        if prediction_set == artifact.labels:
            flags += (Flag(FlagCode.UNCERTAIN),)
        declined = any(flag.declines for flag in flags)
        return Prediction(
            label=None if declined else max(by_label, key=by_label.__getitem__),
            probabilities=by_label,
            interval=interval,
            prediction_set=prediction_set,
            operating_points={} if declined else self._decisions(by_label),
            flags=flags,
            model=self.model,
            audit=artifact.audit,
            activation_map=None if declined else self._map(outputs),
        )

    def _map(self, outputs: dict[str, NDArray[np.float32]]) -> ActivationMap | None:
        if ACTIVATION_MAP not in outputs:
            return None
        labels, maps = self.artifact.labels, outputs[ACTIVATION_MAP]
        values = _unit_range(maps[..., int(outputs[PROBABILITIES].argmax())])
        contrast = lung_share = lungs = None
        if {Label.COVID, Label.PNEUMONIA} <= set(labels):
            difference = maps[..., labels.index(Label.COVID)] - maps[..., labels.index(Label.PNEUMONIA)]
            contrast = difference / max(float(np.abs(difference).max()), float(np.finfo(np.float32).tiny))
        if LUNGS in outputs:
            lungs = outputs[LUNGS][..., 0]
            lung_share = float(values[lungs >= LUNG].sum() / values.sum()) if values.any() else None
        box = self.artifact.preprocessing.box
        return ActivationMap(values=values, contrast=contrast, lung_share=lung_share, lungs=lungs, box=box)

    def _decisions(self, probabilities: dict[Label, float]) -> dict[PointName, Decision]:
        return {
            point.name: Decision(threshold=point.threshold, positive=probabilities[Label.COVID] >= point.threshold)
            for point in self.artifact.operating_points
        }


def _sha256(path: Path) -> str:
    # In one piece: file_digest() reads hundreds of blocks, and each waits for the computation of other threads.
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def _unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the positive evidence and divide it by its maximum; all zeros if there is none."""
    positive = np.maximum(values, 0)
    peak = positive.max()
    return positive / peak if peak > 0 else positive
