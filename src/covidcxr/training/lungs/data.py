"""Radiographs with manually drawn lung masks: pairs, a split by hospital, and batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import FRONTAL_VIEWS
from covidcxr.data.sources import covid_chestxray
from covidcxr.data.sources.base import read_rows
from covidcxr.errors import ManifestError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.augmentation import augmented

MASKS = "lung-masks-v7"
"""Folder under the data root: masks of V7 Labs as PNG, named like the image file with ``.png`` appended."""
HELD_OUT_SHARE = 5
"""One hospital in this many is held out."""


@dataclass(frozen=True, kw_only=True)
class LungPair:
    """A frontal radiograph and the mask of its lungs.

    Attributes:
        image: File of the radiograph.
        mask: File of the mask: lung is white, including the region behind the heart.
        patient_id: Identifier of the patient in the collection.
        hospital: Column ``location`` of the collection, often only a city or country; empty if it is not published.
    """

    image: Path
    mask: Path
    patient_id: str
    hospital: str


def find_pairs(root: Path) -> list[LungPair]:
    """Pair the masks with frontal images of covid-chestxray-dataset, leaving out files without a partner.

    Args:
        root: Folder with the collections in their published layouts, and MASKS.

    Returns:
        Pairs sorted by file name of the image.

    Raises:
        ManifestError: There is no pair.
    """
    folder = root / covid_chestxray.SOURCE.folder
    hospitals = {
        row["filename"]: row["location"] for row in read_rows(folder / "metadata.csv", ("filename", "location"))
    }
    pairs = [
        LungPair(image=item.path, mask=mask, patient_id=item.patient_id, hospital=hospitals[item.path.name])
        for item in covid_chestxray.read(folder)
        if item.view in FRONTAL_VIEWS and item.path.is_file() and (mask := _mask_of(root, item.path)).is_file()
    ]
    if not pairs:
        raise ManifestError(f"Expected images in {folder} with masks in {root / MASKS}. Received no pair.")
    return sorted(pairs, key=lambda pair: pair.image.name)


def _mask_of(root: Path, image: Path) -> Path:
    return root / MASKS / f"{image.name}.png"


def split_by_hospital(pairs: Sequence[LungPair], *, seed: int) -> tuple[list[LungPair], list[LungPair]]:
    """Hold out whole hospitals, about one in HELD_OUT_SHARE.

    Images without a hospital stay in training, and so do hospitals that share a patient with them or with each other.

    Returns:
        Training pairs and test pairs, in the given order, with no patient and no hospital in both.

    Raises:
        ManifestError: There are too few hospitals to hold one out.
    """
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
    held = set(np.random.default_rng(seed).permutation(candidates)[:count])
    return [pair for pair in pairs if pair.hospital not in held], [pair for pair in pairs if pair.hospital in held]


def load_pairs(pairs: Sequence[LungPair], preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decode and preprocess images, and masks with the same geometry.

    Returns:
        Images, uint8, shape (n, size, size, 1), and masks of the same shape, in which 255 means all lung.

    Raises:
        ImageError: A file cannot be decoded; the message names it.
    """
    plain = Preprocessing(size=preprocessing.size, crop=preprocessing.crop, equalize=False)
    images, masks = np.empty((2, len(pairs), preprocessing.size, preprocessing.size, 1), np.uint8)
    for index, pair in enumerate(tqdm(pairs, desc="decoding", unit="image", disable=None)):
        images[index, ..., 0] = preprocessing(read_image(pair.image))
        masks[index, ..., 0] = plain(read_image(pair.mask))
    return images, masks


def pairs_hash(pairs: Sequence[LungPair]) -> str:
    """Return the sha256 (hex) of the names and contents of images and masks."""
    digest = hashlib.sha256()
    for pair in pairs:
        for path in (pair.image, pair.mask):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class MaskBatches:
    """Shuffled, augmented batches of images and masks.

    Each batch is a function of (seed, epoch, number) alone, so a resumed run gets the same batches. It consists of
    images, uint8 (b, size, size, 1), and lungs, float32 of the same shape, 0..1.

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
