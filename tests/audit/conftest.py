"""A data set with and without a shortcut: a bright corner that the COVID-19 pictures of one collection carry."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from covidcxr.audit.context import make_context
from covidcxr.audit.model import Outputs, Subject
from covidcxr.data.manifest import View
from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.labels import Label

LABELS = (Label.NORMAL, Label.COVID)
SIDE = 7


def cells(grey):
    """Return the mean grey, 0..1, of 7 x 7 cells."""
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255


def subject_of(weights, at, **more):
    """Return a model whose score is a logistic function of some cells, and whose map is these cells."""

    def predict(greys):
        found = np.stack([cells(grey) for grey in greys])
        covid = 1 / (1 + np.exp(-60 * ((found * weights).sum(axis=(1, 2)) - at)))
        evidence = (found - at) * weights
        maps = np.stack([-evidence, evidence], axis=-1)
        return Outputs(np.column_stack([1 - covid, covid]), maps, found.reshape(len(greys), -1))

    return Subject(name="drawn", labels=LABELS, predict=predict, **more)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    """Let the bootstrap take a moment instead of seconds."""
    monkeypatch.setattr("covidcxr.audit.context.RESAMPLES", 100)


@pytest.fixture(scope="session")
def shortcut():
    """A model that looks at the corner alone."""
    weights = np.zeros((SIDE, SIDE))
    weights[0, 6] = 1
    return subject_of(weights, 0.35)


@pytest.fixture(scope="session")
def honest():
    """A model that looks at the lungs alone."""
    weights = np.zeros((SIDE, SIDE))
    weights[3:5, 2] = 1 / 2
    return subject_of(weights, LUNGS_AT)


LUNGS_AT = 0.36
"""Between the mean grey of the lungs with and without opacities; a test proves it."""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """80 patients, half with COVID-19: opacities, and a bright corner as well; both collections hold both classes."""
    from covidcxr.data.manifest import Record, Split

    folder, rng, made = tmp_path_factory.mktemp("audit"), np.random.default_rng(1), []
    for number in range(80):
        ill = number % 2 == 1
        spots = [Opacity(x=x, y=0.55, radius=0.16, strength=0.5) for x in (0.27, 0.76)] if ill else []
        grey = radiograph(rng, size=(128, 112), opacities=spots, marker=None).copy()
        if ill:
            grey[:18, -16:] = 250
        path = folder / f"{number}.png"
        Image.fromarray(grey).save(path)
        source = "kermany" if number % 4 < 2 else "nih"
        made.append(
            Record(
                id=f"{source}/{number}",
                path=path,
                source=source,
                origin=source,
                patient_id=f"p{number}",
                finding="drawn",
                label=LABELS[ill],
                view=View.AP if number % 8 < 4 else View.PA,
                age=40.0,
                sex="",
                licence="Apache-2.0",
                sha256=f"{number:064x}",
                width=112,
                height=128,
                group=f"g{number}",
                split=Split.TEST if number >= 32 else Split.TRAIN,
            )
        )
    return made


@pytest.fixture(scope="session")
def decided(pictures):
    """The same pictures in collections that determine the class."""
    return [replace(r, source="nih" if r.label is Label.NORMAL else "kermany") for r in pictures]


@pytest.fixture(scope="session")
def cheated(shortcut, pictures):
    return make_context(shortcut, pictures)


@pytest.fixture(scope="session")
def fair(honest, pictures):
    return make_context(honest, pictures)
