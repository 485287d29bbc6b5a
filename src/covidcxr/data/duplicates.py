"""Near-duplicates: one radiograph published twice, rescaled, recompressed, slightly cropped or with other contrast.

There are three stages, each slower and stricter than the one before: a perceptual hash, the correlation of coarse
detail, and the agreement of fine detail (covidcxr.data.alignment). At the scale of the first two, different chests look
alike; their ribs and vessels do not.
"""

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

from covidcxr.data.alignment import FINE, Axis, agreement
from covidcxr.data.manifest import read_table, write_table
from covidcxr.images.grey import Grey

MAX_DISTANCE = 14
"""Largest number of differing bits, of 64, in the perceptual hash (pHash, Zauner 2010) of a candidate pair."""
MIN_COARSE = 0.7
"""Smallest correlation of the coarse detail of a candidate pair."""
MIN_AGREEMENT = 0.9
"""Smallest agreement of the fine detail of a pair of near-duplicates; see docs/data.md for the study."""

CROPS = (0.0, 0.03, 0.06)
"""Shares cropped from every side before hashing: one image may look like a crop of the other."""
_COARSE = 32  # pixels, side of the coarse thumbnails
_SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # pixels of the coarse thumbnails
_SIGMA = 2.0  # pixels of the coarse thumbnails; wider structures are not detail
_ROWS = 256  # images compared with all others at a time
_PAIRS = 1024  # pairs of coarse thumbnails compared at a time
_TOLERANCE = 0.01  # far above the rounding errors of _rough

Candidates = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Summary of an image by which its near-duplicates are found.

    Attributes:
        bits: Perceptual hash of the image and its crops: bool, shape (len(CROPS), 64).
        thumbnail: The whole image, squeezed to a square: uint8, shape (FINE, FINE).
    """

    bits: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two records that show the same radiograph.

    Attributes:
        id_a: Id of the record that sorts first.
        id_b: Id of the other.
        distance: Differing bits, of 64, in the perceptual hash.
        correlation: Agreement of the fine detail, MIN_AGREEMENT..1.
    """

    id_a: str
    id_b: str
    distance: int
    correlation: float


COLUMNS = tuple(field.name for field in fields(DuplicatePair))


def fingerprint(grey: Grey) -> Fingerprint:
    """Return the fingerprint of a decoded image: uint8, shape (height, width)."""
    image = Image.fromarray(grey)
    crops = [image.crop(_box(crop, *image.size)) for crop in CROPS]
    thumbnail = image.resize((FINE, FINE), Image.Resampling.LANCZOS)
    bits = np.stack([imagehash.phash(crop).hash.ravel() for crop in crops])
    return Fingerprint(bits=bits, thumbnail=np.asarray(thumbnail))


def _box(crop: float, width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom, in pixels, of the part that a crop keeps."""
    return crop * width, crop * height, (1 - crop) * width, (1 - crop) * height


def find_duplicates(
    ids: Sequence[str], fingerprints: Sequence[Fingerprint], *, min_agreement: float = MIN_AGREEMENT
) -> list[DuplicatePair]:
    """Find all pairs of near-duplicates.

    Memory grows linearly with the number of images and of candidate pairs.

    Args:
        ids: Ids of the records.
        fingerprints: Fingerprints of the records, in the same order.
        min_agreement: Smallest agreement of the fine detail, 0..1.

    Returns:
        Pairs sorted by their ids.
    """
    pairs = {}
    for whole, cropped, crop, distance in _candidates(fingerprints):
        first, second = sorted((ids[whole], ids[cropped]))
        guess = Axis(CROPS[crop], 1 - 2 * CROPS[crop])
        correlation = agreement(fingerprints[whole].thumbnail, fingerprints[cropped].thumbnail, guess, guess)
        if correlation >= min_agreement:
            pairs[first, second] = DuplicatePair(
                id_a=first, id_b=second, distance=distance, correlation=round(correlation, 4)
            )
    return [pairs[key] for key in sorted(pairs)]


def _candidates(fingerprints: Sequence[Fingerprint]) -> Iterator[list[int]]:
    """Yield the candidate pairs: index of the whole image, index of the cropped image, index of the crop, distance."""
    if not fingerprints:
        return
    signs = np.stack([item.bits for item in fingerprints]).astype(np.float32) * 2 - 1
    coarse = np.stack([[_coarse(item.thumbnail, crop) for crop in CROPS] for item in fingerprints])
    fixed, lengths = _middles(coarse), _lengths(coarse)
    for start in tqdm(range(0, len(signs), _ROWS), desc="Comparing pictures", unit="block", disable=None):
        close = _alike_in_hash(signs, start)
        close = close[_rough(close, coarse, fixed, lengths) >= MIN_COARSE - _TOLERANCE]
        yield from _alike_in_detail(close, coarse).tolist()


def _alike_in_hash(signs: NDArray[np.float32], start: int) -> Candidates:
    """Return the pairs of one of a block of whole images and a crop of any other whose hashes are close."""
    found = []
    for crop in range(len(CROPS)):
        distance = (64 - signs[start : start + _ROWS, 0] @ signs[:, crop].T) / 2
        whole, cropped = np.nonzero(distance <= MAX_DISTANCE)
        bits = np.rint(distance[whole, cropped])
        rows = np.stack([start + whole, cropped, np.full_like(whole, crop), bits], axis=1).astype(np.int64)
        found.append(rows[rows[:, 0] < rows[:, 1] if CROPS[crop] == 0 else rows[:, 0] != rows[:, 1]])
    return np.concatenate(found)


def _middles(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standardised middles of the whole thumbnails, zero around them: float32, shape (n, _COARSE**2)."""
    inner = slice(1, _COARSE - 1)
    middles = np.zeros((len(coarse), _COARSE, _COARSE), np.float32)
    middles[:, inner, inner] = _standardised(coarse[:, 0, inner, inner]).reshape(-1, _COARSE - 2, _COARSE - 2)
    return middles.reshape(len(coarse), -1)


def _lengths(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the length of every shifted thumbnail after its mean is removed: float32, shape (shifts, n, crops)."""
    lengths = []
    for down, right in _SHIFTS:
        rows, columns = (slice(1 + shift, _COARSE - 1 + shift) for shift in (down, right))
        lengths.append(coarse[:, :, rows, columns].std(axis=(2, 3)) * (_COARSE - 2))
    return np.maximum(lengths, np.float32(1e-3))


def _rough(
    candidates: Candidates, coarse: NDArray[np.float32], fixed: NDArray[np.float32], lengths: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what _shifted does but for rounding, at a fraction of its cost: nothing is standardised for every pair.

    A shift moves the thumbnail, in memory, along its ``fixed`` partner, whose zeros exclude what lies outside.
    """
    best = np.full(len(candidates), -1, np.float32)
    edge = _COARSE + 1
    for start in range(0, len(candidates), _PAIRS):
        whole, cropped, crop, _ = candidates[start : start + _PAIRS].T
        a, b = fixed[whole, edge:-edge], coarse[cropped, crop].reshape(len(whole), -1)
        for (down, right), length in zip(_SHIFTS, lengths[:, cropped, crop], strict=True):
            begin = edge + down * _COARSE + right
            product = np.einsum("ij,ij->i", a, b[:, begin : begin + a.shape[1]]) / length
            np.maximum(best[start : start + _PAIRS], product, out=best[start : start + _PAIRS])
    return best


def _alike_in_detail(candidates: Candidates, coarse: NDArray[np.float32]) -> Candidates:
    """Keep the pairs whose coarse detail agrees, each with its best crop."""
    correlation = np.zeros(len(candidates))
    for start in range(0, len(candidates), _PAIRS):
        rows = candidates[start : start + _PAIRS]
        correlation[start : start + _PAIRS] = _shifted(coarse[rows[:, 0], 0], coarse[rows[:, 1], rows[:, 2]])
    best_first = candidates[np.argsort(-correlation, kind="stable")][: np.count_nonzero(correlation >= MIN_COARSE)]
    _, best = np.unique(best_first[:, :2], axis=0, return_index=True)
    kept: Candidates = best_first[best]
    return kept


def _coarse(thumbnail: NDArray[np.uint8], crop: float) -> NDArray[np.float32]:
    """Return the coarse detail of a crop after histogram equalisation: float32, shape (_COARSE, _COARSE)."""
    box = _box(crop, FINE, FINE)
    image = ImageOps.equalize(Image.fromarray(thumbnail))
    values = np.asarray(image.resize((_COARSE, _COARSE), Image.Resampling.BOX, box=box), np.float32)
    detail: NDArray[np.float32] = values - gaussian_filter(values, _SIGMA)
    return detail


def _shifted(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the best correlation of coarse details over small shifts: float64, shape (pairs,)."""
    inner = slice(1, _COARSE - 1)
    best = np.full(len(a), -1.0)
    fixed = _standardised(a[:, inner, inner])
    for down, right in _SHIFTS:
        rows, columns = (slice(1 + shift, _COARSE - 1 + shift) for shift in (down, right))
        moved = _standardised(b[:, rows, columns])
        np.maximum(best, np.einsum("ij,ij->i", fixed, moved), out=best)
    return best


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every image as a vector of mean 0 and length 1; a uniform image becomes zeros."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    standardised: NDArray[np.float32] = flat / np.where(length > 0, length, 1)
    return standardised


def group_ids(
    ids: Sequence[str], patient_ids: Sequence[str], hashes: Sequence[str], pairs: Iterable[DuplicatePair]
) -> list[str]:
    """Group records that share a patient, a file or a near-duplicate, directly or through other records.

    Args:
        ids: Ids of the records.
        patient_ids: Patient of each record.
        hashes: sha256 of each file; equal files without any detail are not among the pairs.
        pairs: Near-duplicates among the records.

    Returns:
        Group of each record: the smallest id in it.
    """
    index = {name: number for number, name in enumerate(ids)}
    edges = [(index[pair.id_a], index[pair.id_b]) for pair in pairs]
    for shared in (patient_ids, hashes):
        first: dict[str, int] = {}
        edges += [(number, first.setdefault(value, number)) for number, value in enumerate(shared)]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), bool), (rows, columns)), shape=(len(ids), len(ids)))
    _, parts = connected_components(graph, directed=False)
    names: dict[int, str] = {}
    for part, name in sorted(zip(parts.tolist(), ids, strict=True), key=lambda entry: entry[1]):
        names.setdefault(part, name)
    return [names[part] for part in parts.tolist()]


def write_duplicates(pairs: Iterable[DuplicatePair], path: Path) -> None:
    """Write pairs as CSV (UTF-8), one row per pair, with the columns of DuplicatePair."""
    rows = ([pair.id_a, pair.id_b, pair.distance, f"{pair.correlation:.4f}"] for pair in pairs)
    write_table(path, COLUMNS, rows)


def read_duplicates(path: Path) -> list[DuplicatePair]:
    """Read pairs written by write_duplicates.

    Raises:
        ManifestError: The file cannot be read; see read_table.
    """

    def pair(row: dict[str, str]) -> DuplicatePair:
        ids = {name: row[name] for name in ("id_a", "id_b")}
        return DuplicatePair(**ids, distance=int(row["distance"]), correlation=float(row["correlation"]))

    return read_table(path, COLUMNS, pair)
