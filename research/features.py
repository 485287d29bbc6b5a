"""Features of the frozen network for experiments.py, computed once and kept in small files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm
from variants import Variant, images_of

from covidcxr._files import whole
from covidcxr.data.manifest import Record
from covidcxr.prediction.artifact import INPUT
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.prediction.session import open_session
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
"""Images in a file, and in a batch."""


def _outside(features: Values, share: Values) -> Values:
    """Average over what is not lung; the cell that is most certainly lung has weight 0."""
    weight = 1 - share / share.max(axis=(1, 2), keepdims=True)
    return (features * weight).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))


POOLS: dict[str, Pool] = {
    "whole": lambda features, share: features.mean(axis=(1, 2)),
    "lungs": lambda features, share: (features * share).mean(axis=(1, 2)),
    "outside": _outside,
    "spread": lambda features, share: features.std(axis=(1, 2)),
}


class Network:
    """The ImageNet network, and the lungs as the recipe ``default`` finds them, for images of one size."""

    def __init__(self, size: int) -> None:
        backbone = load_backbone(size, "imagenet")
        inside = lung_pooled(size=size, classes=2, weights="imagenet", dropout=0.0)
        self._stages = _session(backbone, {name: backbone.get_layer(layer).output for name, layer in LAYERS.items()})
        self._lungs = _session(inside, {SHARE: inside.get_layer("inside").input[1]})

    def features(self, images: NDArray[np.uint8], variant: Variant) -> dict[str, Values]:
        """Return pooled features, float32 (n, channels), by ``layer pool``.

        Args:
            images: uint8, shape (n, size, size).
            variant: How they were made. The lungs are always found on equalised images.
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
    return open_session(proto.SerializeToString())


def _equalised(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def _at(share: Values, side: int) -> Values:
    """Average a share, (n, h, w, 1), over the cells of a coarser layer."""
    factor = share.shape[1] // side
    return share.reshape(len(share), side, factor, side, factor, 1).mean(axis=(2, 4))


def extract(records: Sequence[Record], variants: tuple[Variant, ...], out: Path) -> None:
    """Compute the features that ``out`` lacks: one file for every variant and CHUNK records."""
    network, segmenter = cache(Network), LungSegmenter.load()
    with ThreadPoolExecutor(2) as pool:
        starts = range(0, len(records), CHUNK)
        for number, start in enumerate(tqdm(starts, desc="features", unit="chunk", disable=None)):
            chunk = records[start : start + CHUNK]
            missing = tuple(variant for variant in variants if not _file(out, variant.name, number).exists())
            made = list(pool.map(partial(images_of, variants=missing, segmenter=segmenter), chunk)) if missing else []
            for variant in missing:
                images = np.stack([inputs[variant.name] for inputs in made])
                features = network(variant.preprocessing.size).features(images, variant)
                _save(_file(out, variant.name, number), chunk, features)


def _file(out: Path, variant: str, number: int) -> Path:
    return out / variant / f"{number:03}.npz"


def _save(path: Path, records: Sequence[Record], features: dict[str, Values]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, sync=False) as partial:
        np.savez(partial, ids=[record.id for record in records], **features)


def load(records: Sequence[Record], variant: Variant, out: Path) -> dict[str, Values]:
    """Read the features of a variant, float32 (n, channels) by ``layer pool``, in the order of the records.

    Raises:
        SystemExit: The files belong to other records.
    """
    numbers = range(-(-len(records) // CHUNK))
    parts = [np.load(_file(out, variant.name, number), allow_pickle=False) for number in numbers]
    if [str(name) for part in parts for name in part["ids"]] != [record.id for record in records]:
        raise SystemExit(
            f"Expected the features of this manifest in {out}. Received those of another one: delete the folder."
        )
    return {
        f"{layer} {pool}": np.concatenate([part[f"{layer} {pool}"] for part in parts])
        for layer in LAYERS
        for pool in variant.pools
    }
