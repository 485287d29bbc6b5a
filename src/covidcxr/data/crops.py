"""Search for pictures that are crops of others, by up to a third of each side on its own, squeezed to any shape.

Every picture is cut in 256 ways, and every cut is compared with every whole picture: first by a short vector, in
which the parts that chests have in common count little, then by a fit of the crop (Lucas and Kanade 1981).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from covidcxr._system import cores

Floats = NDArray[np.float32]

STEPS = (0.0, 0.1, 0.2, 0.3)
"""Shares cropped from each side in the search; the fit finds what lies between."""
CUTS = np.array(list(product(STEPS, repeat=4)), np.float32)
"""Shares cropped from left, right, top and bottom: float32, shape (256, 4)."""
MIN_SIMILARITY = 0.62
"""Smallest similarity of the short vectors of a pair that is fitted."""
FEW = 200
"""Up to so many pictures, all pairs are fitted: there are too few to learn what chests have in common."""
_SIDE = 64  # pixels, of the pictures from which crops are sampled
_SHORT, _LENGTH = 8, 40  # side of the cuts that become vectors, and their length
_ROUNDS = ((8, 0.8), (8, 0.89), (16, 0.87), (16, 0.93), (32, 0.9), (32, 0.92), (32, 0.93))
"""Rounds of the fit, with a step before each but the first: side in pixels, and the smallest correlation to go on."""
_DETAILS = ((32, 0.8), (64, 0.55))
"""Comparisons of detail after the fit: side in pixels, and the smallest correlation to go on."""
_FINE, _WIDE = 0.7, 2.0  # pixels, sigma of the Gaussians whose difference is detail
_SHRINKING = 2  # the pictures from which crops are sampled, as multiples of the side of the crop
_PRIOR = 32  # pictures; the mean of fewer is mostly those pictures themselves
_LEARNED = 1000  # pictures from which the short vectors are learned
_ROWS = 128  # pictures compared with all others at a time
_PAIRS = 2048  # pairs fitted at a time
_LARGEST = 0.36  # share cropped from a side
_LONGEST_STEP = 0.08  # share of the crop


@dataclass(frozen=True)
class Crops:
    """Candidate pairs in which one picture may be a crop of the other.

    Attributes:
        whole: Index of the picture that was cropped: int64, shape (n,).
        cropped: Index of the crop: int64, shape (n,).
        cut: Shares cropped from left, right, top and bottom: float32, shape (n, 4).
        correlation: Correlation of the small pictures: float32, shape (n,).
    """

    whole: NDArray[np.int64]
    cropped: NDArray[np.int64]
    cut: Floats
    correlation: Floats

    def kept(self, keep: NDArray[np.bool_] | slice) -> "Crops":
        """Return some of the pairs."""
        return Crops(self.whole[keep], self.cropped[keep], self.cut[keep], self.correlation[keep])

    @classmethod
    def joined(cls, parts: Sequence["Crops"]) -> "Crops":
        """Return the pairs of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def find_crops(thumbnails: Sequence[NDArray[np.uint8]]) -> Iterator[Crops]:
    """Find pairs of pictures, one of which may be a crop of the other.

    Args:
        thumbnails: Whole pictures, squeezed to squares: uint8, shape (side, side), all of one side.

    Yields:
        Pairs of one block of pictures with all others; a pair may come twice, once in either direction.
    """
    if len(thumbnails) < 2:
        return
    search = _Search(np.stack(thumbnails))
    starts = range(0, len(thumbnails), _ROWS)
    with ThreadPoolExecutor(cores()) as pool:
        yield from tqdm(
            pool.map(search.block, starts), total=len(starts), desc="Comparing crops", unit="block", disable=None
        )


def _equalised(thumbnail: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of _SIDE pixels after histogram equalisation: uint8."""
    small = Image.fromarray(thumbnail).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(ImageOps.equalize(small))


class _Search:
    """Vectors of all cuts of all pictures.

    Args:
        thumbnails: uint8, shape (n, side, side).
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.thumbnails = thumbnails
        pictures = np.stack([_equalised(thumbnail) for thumbnail in thumbnails])
        sides = sorted({side for side, _ in _ROUNDS})
        self.pictures = {side: _shrunk(pictures, min(_SIDE, max(32, _SHRINKING * side))) for side in sides}
        whole = np.zeros((1, 4), np.float32)
        self.wholes = {side: _standardised(_sampled(pictures, whole, side)) for side in sides}
        learned = _all_cuts(pictures[:: -(-len(pictures) // _LEARNED)])
        self.means = learned.mean(axis=1, keepdims=True) * np.float32(learned.shape[1] / (learned.shape[1] + _PRIOR))
        self.projection = _projection(learned, self.means)
        self.vectors = np.empty((len(CUTS), len(pictures), self.projection.shape[1]), np.float32)
        for start in range(0, len(pictures), _ROWS):
            cuts = _all_cuts(pictures[start : start + _ROWS])
            self.vectors[:, start : start + _ROWS] = _unit((cuts - self.means) @ self.projection)
        self.least = MIN_SIMILARITY if len(pictures) > FEW else -1.0

    def block(self, start: int) -> Crops:
        """Return the pairs of a block of pictures, taken as crops, with all other pictures."""
        wholes = self.wholes[_SHORT][start : start + _ROWS]
        best = np.full((len(wholes), self.vectors.shape[1]), -2, np.float32)
        which = np.zeros(best.shape, np.uint8)
        for number, (mean, vectors) in enumerate(zip(self.means, self.vectors, strict=True)):
            similarity = _unit((wholes - mean) @ self.projection) @ vectors.T
            better = similarity > best
            np.copyto(best, similarity, where=better)
            np.copyto(which, np.uint8(number), where=better)
        cropped, whole = np.nonzero(best >= self.least)
        pairs = Crops(whole, cropped + start, CUTS[which[cropped, whole]], best[cropped, whole])
        pairs = pairs.kept(pairs.whole != pairs.cropped)
        fitted = [self._fitted(pairs.kept(slice(at, at + _PAIRS))) for at in range(0, len(pairs.whole), _PAIRS)]
        return Crops.joined([pairs.kept(slice(0)), *fitted])

    def _fitted(self, pairs: Crops) -> Crops:
        """Fit the cuts, dropping pairs as soon as they correlate too little."""
        moves = np.zeros_like(pairs.cut)
        for side, least in _ROUNDS:
            cut = _moved(pairs.cut, moves)
            sample = _sampled(self.pictures[side][pairs.whole], cut, side)
            unit, target = _standardised(sample), self.wholes[side][pairs.cropped]
            correlation: Floats = np.einsum("ij,ij->i", unit, target)
            keep = correlation >= least
            pairs = Crops(pairs.whole, pairs.cropped, cut, correlation).kept(keep)
            moves = _moves(unit[keep].reshape(-1, side, side), target[keep])
        for side, least in _DETAILS:
            whole = _detail(self.thumbnails[pairs.whole], pairs.cut, side)
            cropped = _detail(self.thumbnails[pairs.cropped], np.zeros_like(pairs.cut), side)
            pairs = pairs.kept(np.einsum("ij,ij->i", whole, cropped) >= least)
        return pairs


def _moved(cut: Floats, moves: Floats) -> Floats:
    """Return cuts after moves, which are in shares of the crops."""
    width, height = 1 - cut[:, :2].sum(axis=1), 1 - cut[:, 2:].sum(axis=1)
    size = np.stack([width, width, height, height], axis=1)
    moved: Floats = np.clip(cut + np.clip(moves, -_LONGEST_STEP, _LONGEST_STEP) * size, 0, _LARGEST)
    return moved


def _shrunk(pictures: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if side == pictures.shape[1]:
        return pictures
    block = pictures.shape[1] // side
    means = pictures.reshape(-1, side, block, side, block).mean(axis=(2, 4), dtype=np.float32)
    shrunk: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return shrunk


def _all_cuts(pictures: NDArray[np.uint8]) -> Floats:
    """Return every cut of every picture as a vector of mean 0 and length 1: float32, shape (256, n, _SHORT ** 2)."""
    pairs = np.array(list(product(STEPS, repeat=2)), np.float32)
    weights = _weights(pairs[:, 0], pairs[:, 1], _SHORT, _SIDE).reshape(-1, _SIDE)
    cuts = np.empty((len(CUTS), len(pictures), _SHORT**2), np.float32)
    for number, picture in enumerate(pictures):
        both = weights @ picture.astype(np.float32) @ weights.T  # rows of every (top, bottom), columns of (left, right)
        parts = both.reshape(len(pairs), _SHORT, len(pairs), _SHORT).transpose(2, 0, 1, 3)
        cuts[:, number] = parts.reshape(len(CUTS), -1)
    cuts -= cuts.mean(axis=2, keepdims=True)
    return _unit(cuts)


def _weights(low: Floats, high: Floats, side: int, pixels: int) -> Floats:
    """Return weights that average the cells of an axis after a crop: float32, shape (n, side, pixels)."""
    edges = (low[:, None] + (1 - low - high)[:, None] * np.linspace(0, 1, side + 1)) * pixels
    covered = np.clip(edges[:, :, None] - np.arange(pixels), 0, 1)  # of each pixel, up to each edge
    weights: Floats = (np.diff(covered, axis=1) / np.diff(edges, axis=1)[:, :, None]).astype(np.float32)
    return weights


def _sampled(pictures: NDArray[np.uint8], cut: Floats, side: int) -> Floats:
    """Return crops of pictures: float32, shape (n, side, side)."""
    pixels = pictures.shape[1]
    rows = _weights(cut[:, 2], cut[:, 3], side, pixels)
    columns = _weights(cut[:, 0], cut[:, 1], side, pixels)
    sampled: Floats = rows @ pictures.astype(np.float32) @ columns.transpose(0, 2, 1)
    return sampled


def _detail(thumbnails: NDArray[np.uint8], cut: Floats, side: int) -> Floats:
    """Return the detail of crops as vectors of mean 0 and length 1: float32, shape (n, side ** 2)."""
    sample = _sampled(thumbnails, cut, side)
    fine, wide = (gaussian_filter1d(np.eye(side, dtype=np.float32), sigma, axis=0) for sigma in (_FINE, _WIDE))
    return _standardised(fine @ sample @ fine.T - wide @ sample @ wide.T)


def _moves(unit: Floats, target: Floats) -> Floats:
    """Return a Gauss-Newton step: more cropped from left, right, top and bottom, in shares of the crop."""
    side = unit.shape[1]
    place = ((np.arange(side) + 0.5) / side).astype(np.float32)
    down, right = np.gradient(unit, 1 / side, axis=(1, 2))
    # a crop that starts later moves its start, and one that ends earlier moves its end back
    columns = (unit, right * (1 - place), -right * place, down * (1 - place[:, None]), -down * place[:, None])
    design = np.stack([column.reshape(-1, side * side) for column in columns], axis=1)
    normal = design @ design.transpose(0, 2, 1)
    normal += (1e-3 * normal + 1e-6) * np.eye(len(columns), dtype=np.float32)  # a uniform picture has no slopes
    solution = np.linalg.solve(normal, design @ target[:, :, None])[:, :, 0]
    moves: Floats = (solution[:, 1:] / np.maximum(solution[:, :1], 0.3)).astype(np.float32)
    return moves


def _projection(cuts: Floats, means: Floats) -> Floats:
    """Return the projection of cuts to short vectors: float32, shape (_SHORT ** 2, _LENGTH).

    Directions in which pictures differ, compared with what a small move of the crop changes, count most (linear
    discriminant analysis, Fisher 1936).
    """
    grid = cuts.reshape(*[len(STEPS)] * 4, -1, cuts.shape[-1])
    within = np.zeros((cuts.shape[-1],) * 2)
    for axis in range(4):
        change = np.diff(grid, axis=axis).reshape(-1, cuts.shape[-1])
        within += change.T @ change / len(change) / 12  # variance of a uniform move within a step
    within += np.eye(len(within)) * (np.trace(within) / len(within) * 0.02 + 1e-9)  # of uniform pictures, 0
    apart = (cuts - means).reshape(-1, cuts.shape[-1])
    total = apart.T @ apart / len(apart) + within
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    ratio, directions = np.linalg.eigh(whiten.T @ total @ whiten)
    ratio, directions = ratio[::-1][:_LENGTH], directions[:, ::-1][:, :_LENGTH]
    scaled = whiten @ directions * np.sqrt(np.maximum(1 - 1 / ratio, 1e-3) / ratio)
    projection: Floats = scaled.astype(np.float32)
    return projection


def _standardised(values: Floats) -> Floats:
    flat = values.reshape(len(values), values.shape[1] * values.shape[2])
    centred: Floats = flat - flat.mean(axis=1, keepdims=True)
    return _unit(centred)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = (vectors / np.where(length > 1e-6, length, 1)).astype(np.float32, copy=False)
    return unit
