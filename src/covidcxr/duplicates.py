"""Near-duplicates: the same radiograph published twice, rescaled, recompressed, cropped a little, of other contrast.

Three stages, each dearer and stricter than the one before: a perceptual hash, the correlation of coarse thumbnails, and
the agreement of the fine detail. Chests look alike at the scale that the first two see; ribs and vessels do not.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from covidcxr.errors import ManifestError
from covidcxr.images import Grey

MAX_DISTANCE = 12
"""Differing bits of 64 in the perceptual hash (pHash, Zauner 2010) above which two pictures are not compared on."""
MIN_COARSE = 0.85
"""Correlation of equalised 32 px thumbnails below which two pictures are not compared on."""
MIN_DETAIL = 0.8
"""Median agreement of the detail at 128 px from which on two pictures count as one: see docs/data.md for the study."""
_MIN_FIRST_LOOK = 0.75
"""The same at 64 px, a first look that costs a sixth and turns away most."""

_COARSE, _FIRST_LOOK, FINE = 32, 64, 128  # sides of the thumbnails in pixels
_SHIFT = 1 / 32  # of the side: how far a block may have moved, so that a crop of 3 % on one side still fits
_BLOCKS = 6  # a side
_SIGMA = 1 / 24  # of the side: structures wider than this are not detail
_NOISE = 1.0  # grey levels: weaker detail than this counts as none
_ROWS = 256  # pictures compared with all others at a time

Detail = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What is kept of a picture to find its near-duplicates.

    Attributes:
        bits: bool, shape (64,): perceptual hash.
        thumbnail: uint8, shape (FINE, FINE): the whole picture, squeezed.
    """

    bits: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two records that show the same radiograph.

    Attributes:
        id_a: Id of the record that comes first in order.
        id_b: Id of the other.
        distance: Differing bits of 64 in the perceptual hash.
        correlation: Median agreement of the detail, MIN_DETAIL to 1.
    """

    id_a: str
    id_b: str
    distance: int
    correlation: float


COLUMNS = tuple(field.name for field in fields(DuplicatePair))


def fingerprint(grey: Grey) -> Fingerprint:
    """Return the fingerprint of a decoded picture: uint8, shape (height, width)."""
    image = Image.fromarray(grey)
    thumbnail = image.resize((FINE, FINE), Image.Resampling.LANCZOS)
    return Fingerprint(bits=imagehash.phash(image).hash.ravel(), thumbnail=np.asarray(thumbnail))


def find_duplicates(ids: Sequence[str], fingerprints: Sequence[Fingerprint]) -> list[DuplicatePair]:
    """Find all pairs of near-duplicates.

    Memory grows with the number of pictures, not with its square.

    Args:
        ids: Of the records.
        fingerprints: Theirs, in the same order.

    Returns:
        Pairs in order of their ids.
    """
    pairs = []
    for a, b, distance in _candidates(fingerprints):
        thumbnails = fingerprints[a].thumbnail, fingerprints[b].thumbnail
        if agreement(*thumbnails, side=_FIRST_LOOK) < _MIN_FIRST_LOOK:
            continue
        correlation = agreement(*thumbnails, side=FINE)
        if correlation >= MIN_DETAIL:
            first, second = sorted((ids[a], ids[b]))
            pairs.append(DuplicatePair(id_a=first, id_b=second, distance=distance, correlation=round(correlation, 4)))
    return sorted(pairs, key=lambda pair: (pair.id_a, pair.id_b))


def _candidates(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int]]:
    """Yield the indices of every pair that passes the hash and the coarse thumbnails, and its distance."""
    if not fingerprints:
        return
    signs = np.stack([item.bits for item in fingerprints]).astype(np.float32) * 2 - 1
    coarse = np.stack([_coarse(item.thumbnail) for item in fingerprints])
    for start in tqdm(range(0, len(signs), _ROWS), desc="Comparing pictures", unit="block", disable=None):
        rows = slice(start, start + _ROWS)
        distance = (64 - signs[rows] @ signs[start:].T) / 2
        alike = (distance <= MAX_DISTANCE) & (coarse[rows] @ coarse[start:].T >= MIN_COARSE)
        for a, b in np.argwhere(np.triu(alike, k=1)).tolist():
            yield start + a, start + b, round(float(distance[a, b]))


def _coarse(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an equalised thumbnail as a vector of mean 0 and length 1: a dot product is a correlation."""
    small = Image.fromarray(thumbnail).resize((_COARSE, _COARSE), Image.Resampling.BILINEAR)
    values = np.asarray(ImageOps.equalize(small), np.float32).ravel()
    values -= values.mean()
    length = np.linalg.norm(values)
    return values / length if length else values


def agreement(a: NDArray[np.uint8], b: NDArray[np.uint8], *, side: int = FINE) -> float:
    """Measure how well the detail of two pictures agrees.

    Both are high-pass filtered and cut into blocks; each block of ``a`` looks for its place in ``b`` nearby, and the
    median over the blocks of the best correlation is taken: burnt-in text, arrows and a changed margin spoil few
    blocks, a crop moves each a little.

    Args:
        a: uint8, shape (FINE, FINE).
        b: The same.
        side: Side in pixels at which they are compared.

    Returns:
        -1 to 1.
    """
    reach = round(side * _SHIFT)
    inner = _detail(a, side)[reach:-reach, reach:-reach]
    windows = np.lib.stride_tricks.sliding_window_view(_detail(b, side), inner.shape)
    block = inner.shape[0] // _BLOCKS
    area = block * block
    sum_a, sum_b = _sums(inner, block), _sums(windows, block)
    variance_a = _sums(inner * inner, block) - sum_a * sum_a / area
    variance_b = _sums(windows * windows, block) - sum_b * sum_b / area
    covariance = _sums(windows * inner, block) - sum_a * sum_b / area
    correlation = covariance / np.sqrt(np.maximum(variance_a * variance_b, 0) + (area * _NOISE) ** 2)
    return float(np.median(correlation.max(axis=(0, 1))))


def _detail(thumbnail: NDArray[np.uint8], side: int) -> Detail:
    small = Image.fromarray(thumbnail).resize((side, side), Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    detail: Detail = values - gaussian_filter(values, side * _SIGMA)
    return detail


def _sums(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return the sums over the blocks of the last two axes: shape (..., _BLOCKS, _BLOCKS)."""
    used = block * _BLOCKS
    cut = values[..., :used, :used].reshape(*values.shape[:-2], _BLOCKS, block, _BLOCKS, block)
    sums: NDArray[np.float32] = cut.sum(axis=(-3, -1))
    return sums


def group_ids(ids: Sequence[str], patient_ids: Sequence[str], pairs: Iterable[DuplicatePair]) -> list[str]:
    """Unite records that share a patient or a near-duplicate, directly or through others.

    Args:
        ids: Of the records.
        patient_ids: Of their patients, in the same order.
        pairs: Near-duplicates among the records.

    Returns:
        The group of each record: the smallest id in it.
    """
    index = {name: number for number, name in enumerate(ids)}
    first: dict[str, int] = {}
    edges = [(index[pair.id_a], index[pair.id_b]) for pair in pairs]
    edges += [(number, first.setdefault(patient, number)) for number, patient in enumerate(patient_ids)]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), bool), (rows, columns)), shape=(len(ids), len(ids)))
    _, parts = connected_components(graph, directed=False)
    names: dict[int, str] = {}
    for part, name in sorted(zip(parts.tolist(), ids, strict=True), key=lambda entry: entry[1]):
        names.setdefault(part, name)
    return [names[part] for part in parts.tolist()]


def write_duplicates(pairs: Iterable[DuplicatePair], path: Path) -> None:
    """Write pairs as CSV (UTF-8), one row a pair, columns as in DuplicatePair."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([pair.id_a, pair.id_b, pair.distance, f"{pair.correlation:.4f}"] for pair in pairs)
    partial.replace(path)


def read_duplicates(path: Path) -> list[DuplicatePair]:
    """Read what write_duplicates wrote.

    Raises:
        ManifestError: The file is missing or a row is not valid; the message names it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                DuplicatePair(
                    id_a=row["id_a"],
                    id_b=row["id_b"],
                    distance=int(row["distance"]),
                    correlation=float(row["correlation"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ManifestError(f"Expected pairs made by 'covidcxr data build' in {path}. Received: {error!r}") from error
