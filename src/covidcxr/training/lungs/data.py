"""Radiographs with manually drawn lung masks: pairs, a split by hospital, and batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from covidcxr.data.manifest import FRONTAL_VIEWS
from covidcxr.data.sources import covid_chestxray, jsrt
from covidcxr.data.sources.base import read_rows
from covidcxr.errors import ManifestError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import Mask
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.augmentation import augmented

MASKS = "lung-masks-v7"
"""Folder under the data root: masks of V7 Labs as PNG, named like the image file with ``.png`` appended."""
SCR, LUNG_MASKS, HEART = "masks", ("left_lung", "right_lung"), "heart"
"""Folders of the SCR database (van Ginneken et al. 2006) under that of JSRT: masks as PNG, named like the images."""
HELD_OUT_SHARE = 5
"""One hospital in this many is held out."""


@dataclass(frozen=True, kw_only=True)
class LungPair:
    """A frontal radiograph and the mask of its lungs.

    Attributes:
        image: File of the radiograph.
        masks: Files of the mask: lung is white in any of them.
        heart: Mask of the heart, where this mask is black and others are white: what counts as lung there is open.
        origin: Collection of the image.
        patient_id: Identifier of the patient in the collection.
        hospital: Hospital, often only a city or country; empty if it is not published.
    """

    image: Path
    masks: tuple[Path, ...]
    heart: Path | None = None
    origin: str
    patient_id: str
    hospital: str


def find_pairs(root: Path) -> list[LungPair]:
    """Pair the masks with frontal images of covid-chestxray-dataset and JSRT, leaving out files without a partner.

    Args:
        root: Folder with the collections in their published layouts, and the masks.

    Returns:
        Pairs sorted by collection and file name of the image.

    Raises:
        ManifestError: A collection has no pair.
    """
    return [*_covid_chestxray(root), *_jsrt(root)]


def _covid_chestxray(root: Path) -> list[LungPair]:
    folder = root / covid_chestxray.SOURCE.folder
    hospitals = {
        row["filename"]: row["location"] for row in read_rows(folder / "metadata.csv", ("filename", "location"))
    }
    pairs = [
        LungPair(
            image=item.path,
            masks=(mask,),
            origin=covid_chestxray.SOURCE.origin,
            patient_id=item.patient_id,
            hospital=hospitals[item.path.name],
        )
        for item in covid_chestxray.read(folder)
        if item.view in FRONTAL_VIEWS and item.path.is_file() and (mask := _mask_of(root, item.path)).is_file()
    ]
    if not pairs:
        raise ManifestError(f"Expected images in {folder} with masks in {root / MASKS}. Received no pair.")
    return sorted(pairs, key=lambda pair: pair.image.name)


def _mask_of(root: Path, image: Path) -> Path:
    return root / MASKS / f"{image.name}.png"


def _jsrt(root: Path) -> list[LungPair]:
    """Pair the images of JSRT, each its own hospital: there are 14, but none is published with an image."""
    folder = root / jsrt.SOURCE.folder
    pairs = []
    for item in jsrt.read(folder):
        *masks, heart = (folder / SCR / part / f"{item.path.stem}.png" for part in (*LUNG_MASKS, HEART))
        if all(mask.is_file() for mask in (*masks, heart)):
            pair = LungPair(
                image=item.path,
                masks=tuple(masks),
                heart=heart,
                origin=jsrt.SOURCE.origin,
                patient_id=item.patient_id,
                hospital=item.patient_id,
            )
            pairs.append(pair)
    if not pairs:
        raise ManifestError(f"Expected images in {folder} with masks in {folder / SCR}. Received no pair.")
    return pairs


def split_by_hospital(pairs: Sequence[LungPair], *, seed: int) -> tuple[list[LungPair], list[LungPair]]:
    """Hold out whole hospitals, about one in HELD_OUT_SHARE of every collection.

    Images without a hospital stay in training, and so do hospitals that share a patient with them or with each other.

    Returns:
        Training pairs and test pairs, in the given order, with no patient and no hospital in both.

    Raises:
        ManifestError: There are too few hospitals to hold one out.
    """
    held: set[tuple[str, str]] = set()
    for origin in sorted({pair.origin for pair in pairs}):
        some = [pair for pair in pairs if pair.origin == origin]
        held |= {(origin, hospital) for hospital in _held_out(some, seed)}
    known, unseen = ([pair for pair in pairs if ((pair.origin, pair.hospital) in held) == out] for out in (False, True))
    return known, unseen


def _held_out(pairs: Sequence[LungPair], seed: int) -> list[str]:
    seen_at: dict[str, set[str]] = {}
    for pair in pairs:
        seen_at.setdefault(pair.patient_id, set()).add(pair.hospital)
    shared = {hospital for hospitals in seen_at.values() if len(hospitals) > 1 for hospital in hospitals}
    candidates = sorted({pair.hospital for pair in pairs} - shared - {""})
    count = len(candidates) // HELD_OUT_SHARE
    if not count:
        raise ManifestError(
            f"Expected at least {HELD_OUT_SHARE} hospitals to hold one out. Received {len(candidates)}."
        )
    return [str(name) for name in np.random.default_rng(seed).permutation(candidates)[:count]]


def read_masks(pair: LungPair, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Return which pixels of an image are lung, and of which that is known: bool, shape (height, width) each."""

    def read(path: Path) -> Mask:
        height, width = shape
        drawn = Image.fromarray(read_image(path)).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(drawn) >= 128

    lungs: Mask = np.logical_or.reduce([read(path) for path in pair.masks])
    return lungs, ~read(pair.heart) | lungs if pair.heart else np.ones_like(lungs)


def load_pairs(pairs: Sequence[LungPair], preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decode and preprocess images, and masks with the same geometry.

    Returns:
        Images, uint8, shape (n, size, size, 1), and uint8, shape (n, size, size, 2): 255 where all is lung, and 255
        where it is known whether.

    Raises:
        ImageError: A file cannot be decoded; the message names it.
    """
    plain = Preprocessing(size=preprocessing.size, crop=preprocessing.crop, equalize=False)
    images = np.empty((len(pairs), preprocessing.size, preprocessing.size, 1), np.uint8)
    masks = np.empty((*images.shape[:3], 2), np.uint8)
    for index, pair in enumerate(tqdm(pairs, desc="decoding", unit="image", disable=None)):
        grey = read_image(pair.image)
        images[index] = preprocessing(grey)
        for channel, mask in enumerate(read_masks(pair, grey.shape)):
            masks[index, ..., channel] = plain(mask.astype(np.uint8) * np.uint8(255))[..., 0]
    return images, masks


def pairs_hash(pairs: Sequence[LungPair]) -> str:
    """Return the sha256 (hex) of the names and contents of images and masks."""
    digest = hashlib.sha256()
    for pair in pairs:
        for path in (pair.image, *pair.masks, *([pair.heart] if pair.heart else [])):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class MaskBatches:
    """Shuffled, augmented batches of images and masks.

    Each batch is a function of (seed, epoch, number) alone, so a resumed run gets the same batches. It consists of
    images, uint8 (b, size, size, 1), and float32 (b, size, size, 2), 0..1: share of lung, and of what is known.

    Attributes:
        epoch: Number of the next pass over the data; set it before each pass.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        masks: NDArray[np.uint8],
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
    ) -> None:
        self.epoch = 0
        self._images, self._masks = images, masks
        self._batch_size, self._seed = batch_size, seed
        self._augmentation = augmentation
        self._moves = augmentation.model_copy(update={"brightness": 0.0, "contrast": 0.0})

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._images))
        chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
        key = [self._seed, self.epoch, number]  # the same random numbers twice, so that image and mask move together
        images = augmented(self._images[chosen], self._augmentation, np.random.default_rng(key))
        masks = augmented(self._masks[chosen], self._moves, np.random.default_rng(key))
        return images, masks.astype(np.float32) / np.float32(255)
