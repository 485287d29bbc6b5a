"""Training of the gate of a finished run: features of its examples, and the file that export puts into the model."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr._files import write_json
from covidcxr.data.collect import Reject, RejectReason, read_rejects
from covidcxr.data.manifest import GROWN_UP, Record, Split, View, read_manifest
from covidcxr.data.sources import children_origins
from covidcxr.errors import RecipeError
from covidcxr.evaluation.metrics import mean_of
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey
from covidcxr.prediction.flags import FlagCode
from covidcxr.recipes.recipe import Recipe
from covidcxr.training.fit import load_run
from covidcxr.training.gate.fit import ADULT, CODES, TINY, Gate, Pictures, declined_when_unseen, fit
from covidcxr.training.gate.pictures import non_xrays

GATE_FILE, GATE_REPORT = "gate.npz", "gate.json"
"""Files in the run folder."""
DRAWN, SEED = 700, 0
"""Number of drawn images for training, and their seed."""
HELD_OUT_FOLDS = 5
"""Of the patients with lateral views or CT, one in this many is held out."""
SMALL_CHILD = 6
"""Age in years below which a patient counts as a child; from there to GROWN_UP, images are not used."""
BATCH = 32
REJECTED = {View.CT: FlagCode.CT, View.LATERAL: FlagCode.LATERAL}
"""Views that the gate declines."""

Example = tuple[Callable[[], Grey], str, str, str]
"""Function that draws or reads an image, then its kind, origin and group; see covidcxr.training.gate.fit.Pictures."""


def train_gate(run: Path, manifest: Path) -> dict[str, Any]:
    """Fit the gate and write it into the run folder.

    Args:
        run: Folder of a finished run of ``covidcxr train``.
        manifest: Manifest of ``covidcxr data build``, next to its rejects.

    Returns:
        Content of GATE_REPORT: number of training images by kind, and for each origin the adults declined by a gate
        trained without it.

    Raises:
        RecipeError: The run is not finished, or its network pools no features.
        ManifestError: A kind of image is missing.
        ImageError: An image cannot be decoded.
    """
    model, recipe = load_run(run)
    records = read_manifest(manifest)
    pictures = features_of(model, recipe, _examples(records, read_rejects(rejects_of(manifest))))
    gate = fit(pictures)
    report = {"training": _count(pictures), "unseen_origins": _unseen(pictures)}
    write_json(run / GATE_REPORT, report)
    gate.save(run / GATE_FILE)
    return report


def rejects_of(manifest: Path) -> Path:
    """Return the path of the rejects that belong to a manifest."""
    return manifest.with_suffix(".rejects.csv")


def kind_of(record: Record) -> str | None:
    """Return ADULT or ``child``; None for older children, on whom the gate is not trained."""
    if record.origin in children_origins() or (record.age is not None and record.age < SMALL_CHILD):
        return FlagCode.CHILD
    return ADULT if record.age is None or record.age >= GROWN_UP else None


def rejected_views(rejects: Sequence[Reject], records: Sequence[Record], *, held_out: bool) -> list[Reject]:
    """Return the lateral views and CT slices of one part of a split by patient, without external collections."""
    external = {record.source for record in records if record.split is Split.EXTERNAL}
    return [
        reject
        for reject in rejects
        if reject.view in REJECTED
        and reject.reason is RejectReason.VIEW
        and reject.source not in external
        and not reject.path.name.endswith(".nii.gz")
        and _is_held_out(reject.patient_id) == held_out
    ]


def _is_held_out(patient_id: str) -> bool:
    return int(hashlib.sha256(patient_id.encode()).hexdigest(), 16) % HELD_OUT_FOLDS == 0


def _examples(records: Sequence[Record], rejects: Sequence[Reject]) -> list[Example]:
    frontal = [(record, kind_of(record)) for record in records if record.split is Split.TRAIN]
    return [
        *((partial(read_image, record.path), kind, record.origin, record.group) for record, kind in frontal if kind),
        *(
            (partial(read_image, reject.path), REJECTED[reject.view], reject.source, reject.patient_id)
            for reject in rejected_views(rejects, records, held_out=False)
        ),
        *(
            (partial(np.asarray, grey), FlagCode.NOT_A_CHEST_XRAY, "drawn", f"drawn {number}")
            for number, grey in enumerate(non_xrays(DRAWN, seed=SEED))
        ),
    ]


def features_of(model: keras.Model, recipe: Recipe, examples: Sequence[Example]) -> Pictures:
    """Return the network's features of examples, averaged over each image; see Pictures."""
    extractor = keras.Model(model.input, picture_features(model))
    parts: list[NDArray[np.float32]] = []
    for start in tqdm(range(0, len(examples), BATCH), desc="gate", unit="batch", disable=None):
        greys = [read() for read, *_ in examples[start : start + BATCH]]
        images = np.stack([recipe.preprocessing(grey) for grey in greys])[..., np.newaxis]
        parts.append(extractor.predict_on_batch(images))
    described = (np.array([str(example[index]) for example in examples]) for index in (1, 2, 3))
    return Pictures(np.concatenate(parts), *described)


def picture_features(model: keras.Model) -> keras.KerasTensor:
    """Return the last features averaged over the whole image, not over the lungs: float32 (N, d).

    Raises:
        RecipeError: The network has neither a layer ``inside`` nor ``pool``.
    """
    named = {layer.name: layer for layer in model.layers}
    if "inside" in named:  # multiplies the features by the lung weights, which have one channel
        features = max(named["inside"].input, key=lambda x: int(x.shape[-1]))
    elif "pool" in named:
        features = named["pool"].input
    else:
        raise RecipeError(f"Expected a network that pools its features. Received {model.name}.")
    return layers.GlobalAveragePooling2D(dtype="float32", name="picture")(features)


def gate_scores(features: keras.KerasTensor, gate: Gate) -> keras.KerasTensor:
    """Return Gate.scores as layers: float32 (N, checks)."""
    to_axes, learned = layers.Dense(len(gate.centre)), layers.Dense(len(gate.offsets))
    inner = keras.Input(features.shape[1:])  # a nested network, because layer names must be unique
    axes = to_axes(inner)
    square = ops.square(axes)
    scores = learned(axes / ops.sqrt(1 + ops.mean(square, axis=1, keepdims=True)))
    to_axes.set_weights([gate.whitening, gate.centre])
    learned.set_weights([gate.directions, gate.offsets])
    scores = ops.concatenate([scores, ops.log(ops.sum(square, axis=1, keepdims=True) + TINY)], axis=1)
    return keras.Model(inner, scores, name="gate_scores")(features)


def _count(pictures: Pictures) -> dict[str, int]:
    kinds, counts = np.unique(pictures.kinds, return_counts=True)
    return {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}


def _unseen(pictures: Pictures) -> dict[str, dict[str, Any]]:
    return {
        origin: {
            "n": len(declined),
            "declined": int(declined.any(axis=1).sum()),
            **mean_of(np.asarray(declined.any(axis=1)), pictures.adults_of(origin).groups, seed=SEED).to_dict(),
            "by_check": {str(code): int(count) for code, count in zip(CODES, declined.sum(axis=0), strict=True)},
        }
        for origin, declined in declined_when_unseen(pictures).items()
    }
