"""Scores of records: computed from an exported model file, written to scores.csv and read from it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import Record, write_table
from covidcxr.errors import ManifestError
from covidcxr.images.decode import read_image
from covidcxr.labels import LABELS, Label
from covidcxr.prediction.predictor import Predictor

BATCH = 16
"""Images decoded at once; bounds the memory."""


def class_indices(records: Sequence[Record], labels: Sequence[Label]) -> NDArray[np.int64]:
    """Return the index of each record's class in ``labels``: int64, shape (n,)."""
    return np.array([labels.index(record.label) for record in records], np.int64)


@dataclass(frozen=True)
class Scores:
    """Scored records.

    Attributes:
        records: The n records.
        labels: Classes in the order of the columns of ``y_score``; the class of every record is among them.
        y_score: float64, shape (n, classes), probabilities.
    """

    records: list[Record]
    labels: tuple[Label, ...]
    y_score: NDArray[np.float64]

    @cached_property
    def y_true(self) -> NDArray[np.int64]:
        """Class indices: int64, shape (n,)."""
        return class_indices(self.records, self.labels)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """Patients joined with their near-duplicates: str, shape (n,)."""
        return np.array([record.group for record in self.records])

    def where(self, chosen: NDArray[np.bool_]) -> "Scores":
        """Return the scores for which ``chosen`` (bool, shape (n,)) is true."""
        records = [record for record, keep in zip(self.records, chosen, strict=True) if keep]
        return Scores(records, self.labels, self.y_score[chosen])

    def with_scores(self, y_score: NDArray[np.float64]) -> "Scores":
        """Return the same records with other scores: float64, shape (n, classes)."""
        return replace(self, y_score=y_score)


@dataclass(frozen=True)
class ScoreTable:
    """Content of scores.csv.

    Attributes:
        ids: Ids of the n records.
        labels: Classes in the order of the columns of ``y_score``.
        y_true: int64, shape (n,), index into ``labels``.
        y_score: float64, shape (n, classes), probabilities.
        groups: str, shape (n,), patients joined with their near-duplicates.
    """

    ids: list[str]
    labels: tuple[Label, ...]
    y_true: NDArray[np.int64]
    y_score: NDArray[np.float64]
    groups: NDArray[np.str_]


def score(predictor: Predictor, records: Sequence[Record]) -> Scores:
    """Score records with a model file.

    Raises:
        ImageError: A file can no longer be decoded; the message names it.
    """
    labels = predictor.artifact.labels
    probabilities: list[list[float]] = []
    with tqdm(total=len(records), desc="scoring", unit="image", disable=None) as bar:
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            predictions = predictor.predict_many([read_image(record.path) for record in batch])
            probabilities += [list(prediction.probabilities.values()) for prediction in predictions]
            bar.update(len(batch))
    return Scores(list(records), labels, np.array(probabilities, np.float64).reshape(-1, len(labels)))


def covid_against_normal(scores: Scores) -> Scores:
    """Reduce scores of COVID-19 and normal records to these two classes.

    The probability of COVID-19 becomes p_covid / (p_covid + p_normal). No record shows other pneumonia, so its
    probability is left out.

    Raises:
        ManifestError: A record is of another class.
    """
    pair = (Label.NORMAL, Label.COVID)
    if not {record.label for record in scores.records} <= set(pair):
        raise ManifestError("Expected COVID-19 and normal records only. Received others.")
    both = scores.y_score[:, [scores.labels.index(label) for label in pair]]
    total = np.maximum(both.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return Scores(scores.records, pair, both / total)


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as CSV: id, source, view, patient_id, group, y_true, then one probability per class."""
    columns = ["id", "source", "view", "patient_id", "group", "y_true", *scores.labels]
    write_table(path, columns, (_row(record, row) for record, row in zip(scores.records, scores.y_score, strict=True)))


def _row(record: Record, probabilities: NDArray[np.float64]) -> list[str]:
    about = [record.id, record.source, record.view, record.patient_id, record.group, record.label]
    return [*about, *(f"{value:.8g}" for value in probabilities)]


def read_scores(path: Path) -> ScoreTable:
    """Read a file written by write_scores, such as the validation scores of a run."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        labels = tuple(label for label in LABELS if label in (reader.fieldnames or ()))
        rows = list(reader)
    return ScoreTable(
        ids=[row["id"] for row in rows],
        labels=labels,
        y_true=np.array([labels.index(Label(row["y_true"])) for row in rows], np.int64),
        y_score=np.array([[float(row[label]) for label in labels] for row in rows], np.float64),
        groups=np.array([row["group"] for row in rows]),
    )
