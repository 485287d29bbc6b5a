"""Features of the frozen network for study_features.py, computed once and kept in small files."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import keras
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, ImageOps
from study_pictures import Variant, pictures
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.prediction.artifact import INPUT
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.training.export import convert
from covidcxr.training.networks.efficientnet_lite import load_backbone
from covidcxr.training.networks.lung_pooled import STAGES, lung_pooled

Values = NDArray[np.float32]
Pool = Callable[[Values, Values], Values]
"""``pool(features, share)``: (n, h, w, channels) and (n, h, w, 1), mean 1 over an image, to (n, channels)."""

LAYERS = {
    "stage3": "stage3_block2_add",
    "stage4": STAGES[0],
    "stage5": STAGES[1],
    "stage6": STAGES[2],
    "top": "top_relu6",
}
SHARE = "share"
CHUNK = 64
"""Images a file, and a batch."""


def _outside(features: Values, share: Values) -> Values:
    """Average over what is not lung: the surest place of lung counts nothing."""
    weight = 1 - share / share.max(axis=(1, 2), keepdims=True)
    return (features * weight).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))


POOLS: dict[str, Pool] = {
    "whole": lambda features, share: features.mean(axis=(1, 2)),
    "lungs": lambda features, share: (features * share).mean(axis=(1, 2)),
    "outside": _outside,
    "spread": lambda features, share: features.std(axis=(1, 2)),
}


class Network:
    """The ImageNet network, and the share of the lungs as the recipe ``default`` has it, for pictures of one size."""

    def __init__(self, size: int) -> None:
        backbone = load_backbone(size, "imagenet")
        inside = lung_pooled(size=size, classes=2, weights="imagenet", dropout=0.0)
        self._stages = _session(backbone, {name: backbone.get_layer(layer).output for name, layer in LAYERS.items()})
        self._lungs = _session(inside, {SHARE: inside.get_layer("inside").input[1]})

    def features(self, images: NDArray[np.uint8], variant: Variant) -> dict[str, Values]:
        """Return pooled features, float32 (n, channels), by ``layer pool``.

        Args:
            images: uint8, shape (n, size, size), of the variant.
            variant: What they are. The lungs are found on the equalised picture, whatever the features are taken from.
        """
        seen = images if variant.preprocessing.equalize else np.stack([_equalised(image) for image in images])
        (fine,) = self._lungs.run([SHARE], {INPUT: seen[..., np.newaxis]})
        found = zip(LAYERS, self._stages.run(list(LAYERS), {INPUT: images[..., np.newaxis]}), strict=True)
        return {
            f"{name} {pool}": POOLS[pool](values, _at(fine, values.shape[1]))
            for name, values in found
            for pool in variant.pools
        }


def _session(model: keras.Model, outputs: dict[str, keras.KerasTensor]) -> ort.InferenceSession:
    proto = convert(keras.Model(model.input, outputs), model.input.shape[1])
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the cores to the decoders
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _equalised(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def _at(share: Values, side: int) -> Values:
    """Average a share, (n, h, w, 1), over the cells of a coarser layer."""
    factor = share.shape[1] // side
    return share.reshape(len(share), side, factor, side, factor, 1).mean(axis=(2, 4))


def extract(records: Sequence[Record], variants: tuple[Variant, ...], out: Path) -> None:
    """Compute what is not in ``out`` yet: one file a variant and CHUNK of records."""
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    left = [
        (number, chunk, missing)
        for number, chunk in enumerate(chunks)
        if (missing := tuple(variant for variant in variants if not _file(out, variant.name, number).exists()))
    ]
    if not left:
        return
    network, segmenter = cache(Network), LungSegmenter.load()
    with ThreadPoolExecutor(2) as pool:

        def started(place: int) -> list[Future]:
            _, chunk, missing = left[place] if place < len(left) else (0, [], ())
            return [pool.submit(pictures, record, missing, segmenter) for record in chunk]

        ahead = started(0)
        for place, (number, chunk, missing) in enumerate(tqdm(left, desc="features", unit="chunk", disable=None)):
            made, ahead = [future.result() for future in ahead], started(place + 1)
            for variant in missing:
                images = np.stack([inputs[variant.name] for inputs in made])
                features = network(variant.preprocessing.size).features(images, variant)
                _save(_file(out, variant.name, number), chunk, features)


def _file(out: Path, variant: str, number: int) -> Path:
    return out / variant / f"{number:03}.npz"


def _save(path: Path, records: Sequence[Record], features: dict[str, Values]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez(file, ids=[record.id for record in records], **features)
    partial.replace(path)


def load(records: Sequence[Record], variant: Variant, out: Path) -> dict[str, Values]:
    """Read the features of a variant, float32 (n, channels) by ``layer pool``, in the order of the records.

    Raises:
        SystemExit: The files are of other records.
    """
    numbers = range(-(-len(records) // CHUNK))
    parts = [np.load(_file(out, variant.name, number), allow_pickle=False) for number in numbers]
    if [str(name) for part in parts for name in part["ids"]] != [record.id for record in records]:
        raise SystemExit(f"Expected the features of this manifest in {out}. Received those of another: delete it.")
    return {
        f"{layer} {pool}": np.concatenate([part[f"{layer} {pool}"] for part in parts])
        for layer in LAYERS
        for pool in variant.pools
    }
