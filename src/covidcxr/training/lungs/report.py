"""Test of the lung networks: Dice coefficients on held-out images, and a contact sheet."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image, ImageFilter

from covidcxr import __version__
from covidcxr.evaluation.metrics import mean_of
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import LungSegmenter, Mask
from covidcxr.prediction.predictor import LUNG
from covidcxr.training.lungs.data import LungPair, load_pairs

SHEET_PICTURES, _COLUMNS, _SIDE, _GAP = 24, 6, 240, 6  # contact sheet: images, images per row, then pixels
_DRAWN, _FOUND = (0, 158, 115), (230, 159, 0)
"""Colours of manual (green) and computed (orange) outlines, distinct for colour-blind readers (Okabe and Ito 2008)."""


def evaluate(
    segmenter: LungSegmenter, known: Sequence[LungPair], unseen: Sequence[LungPair], examples: Path, *, seed: int
) -> dict[str, Any]:
    """Compare masks of the exported file with manually drawn ones, at the size of each image.

    Args:
        segmenter: Exported file.
        known: Training pairs, which are only counted.
        unseen: Pairs of held-out hospitals.
        examples: Contact sheet to write: held-out images from worst to best.
        seed: Seed of the bootstrap.

    Returns:
        JSON values: mean Dice with its 95 % interval by bootstrap over patients, and a description of the data.
    """
    greys = [read_image(pair.image) for pair in unseen]
    drawn = [read_image(pair.mask) >= 128 for pair in unseen]
    found = segmenter.masks(greys)
    scores = np.array([dice(mask, other) for mask, other in zip(drawn, found, strict=True)])
    order = np.argsort(scores)
    shown = order[np.linspace(0, len(order) - 1, min(SHEET_PICTURES, len(order))).round().astype(int)]
    contact_sheet([outlined(greys[i], drawn[i], found[i]) for i in shown]).save(examples)
    return {
        "dice": mean_of(scores, np.array([pair.patient_id for pair in unseen]), seed=seed).to_dict(),
        "lowest_dice": float(scores.min()),
        "test": _counts(unseen),
        "training": _counts(known),
        "hospitals_held_out": sorted({pair.hospital for pair in unseen}),
        "versions": {"covidcxr": __version__, "python": platform.python_version()}
        | {package: version(package) for package in ("tensorflow", "keras", "tf2onnx", "onnxruntime", "numpy")},
    }


def evaluate_cells(
    network: keras.Model, preprocessing: Preprocessing, unseen: Sequence[LungPair], *, seed: int
) -> dict[str, Any]:
    """Compare coarse masks with manually drawn ones, cell by cell.

    Args:
        network: Network of covidcxr.training.networks.lung_cells.lung_cell_network.
        preprocessing: Preprocessing that it was trained with.
        unseen: Pairs of held-out hospitals.
        seed: Seed of the bootstrap.

    Returns:
        JSON values: mean Dice as in ``evaluate``, side of the input in pixels, and side of the mask in cells.
    """
    images, masks = load_pairs(unseen, preprocessing)
    found = np.asarray(network.predict(images, verbose=0))[..., 0]
    side = found.shape[1]
    drawn = masks.reshape(len(masks), side, preprocessing.size // side, side, -1).mean(axis=(2, 4)) / 255
    scores = np.array([dice(one, other) for one, other in zip(drawn >= LUNG, found >= LUNG, strict=True)])
    return {
        "dice": mean_of(scores, np.array([pair.patient_id for pair in unseen]), seed=seed).to_dict(),
        "lowest_dice": float(scores.min()),
        "side": preprocessing.size,
        "cells": side,
    }


def _counts(pairs: Sequence[LungPair]) -> dict[str, int]:
    return {
        "n": len(pairs),
        "patients": len({pair.patient_id for pair in pairs}),
        "hospitals": len({pair.hospital for pair in pairs} - {""}),
    }


def dice(mask: Mask, other: Mask) -> float:
    """Return the Dice coefficient of two masks of equal size, 0..1; 1 if both are empty."""
    total = int(mask.sum() + other.sum())
    return 2 * int((mask & other).sum()) / total if total else 1.0


def outlined(grey: Grey, drawn: Mask, found: Mask) -> Image.Image:
    """Draw the outlines of the lungs on a radiograph: green for the manual mask, orange for the network's."""
    size = (_SIDE, _SIDE)
    picture = Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    for mask, colour in ((drawn, _DRAWN), (found, _FOUND)):
        lungs = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST).convert("L")
        edge = np.asarray(lungs) > np.asarray(lungs.filter(ImageFilter.MinFilter(3)))
        picture.paste(colour, mask=Image.fromarray(edge))
    return picture


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Arrange the images of ``outlined`` in rows."""
    rows = -(-len(pictures) // _COLUMNS)
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, rows * step + _GAP))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (_GAP + place % _COLUMNS * step, _GAP + place // _COLUMNS * step))
    return sheet
