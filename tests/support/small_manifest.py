"""A small data set in memory, and its pictures on disk."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from covidcxr.data.manifest import Record, Split, View
from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.labels import LABELS, Label


def write_records(folder: Path) -> list[Record]:
    """Draw 60 radiographs of 60 patients, 20 a class, from two sources; those with COVID-19 show opacities."""
    rng = np.random.default_rng(0)
    return [_write_record(folder, number, rng) for number in range(60)]


def _write_record(folder: Path, number: int, rng: np.random.Generator) -> Record:
    label = LABELS[number % 3]
    spots = [Opacity(x=x, y=0.6, radius=0.12, strength=0.5) for x in (0.3, 0.7)] if label is Label.COVID else []
    path = folder / f"{number}.png"
    Image.fromarray(radiograph(rng, size=(96, 80), opacities=spots)).save(path)
    source = "kermany" if number % 2 else "nih"
    return Record(
        id=f"synthetic/{number}",
        path=path,
        source=source,
        origin=source,
        patient_id=f"p{number}",
        finding=label,
        label=label,
        view=View.PA,
        age=40.0,
        sex="F",
        licence="Apache-2.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        width=80,
        height=96,
        group=f"g{number}",
        split=Split.TEST if number >= 45 else Split.TRAIN,
    )
