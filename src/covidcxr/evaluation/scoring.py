"""Records to scores.csv: every figure of a report starts from what the predictor says of the exported file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Scores:
    """Scored records.

    Attributes:
        records: The n records.
        labels: Classes in the order of the columns of ``y_score``.
        y_true: int64, shape (n,), index into ``labels``.
        y_score: float64, shape (n, classes), probabilities.
        groups: str, shape (n,), patients joined with their near-duplicates.
    """

    records: list[Record]
    labels: tuple[Label, ...]
    y_true: NDArray[np.int64]
    y_score: NDArray[np.float64]
    groups: NDArray[np.str_]

    def where(self, chosen: NDArray[np.bool_]) -> "Scores":
        """Return the scores for which ``chosen`` (bool, shape (n,)) is true."""
        records = [record for record, keep in zip(self.records, chosen, strict=True) if keep]
        return Scores(records, self.labels, self.y_true[chosen], self.y_score[chosen], self.groups[chosen])

    def with_scores(self, y_score: NDArray[np.float64]) -> "Scores":
        """Return the same records with other scores: float64, shape (n, classes)."""
        return replace(self, y_score=y_score)


def score(predictor: Predictor, records: Sequence[Record]) -> Scores:
    """Score records with a model file, decoding and preprocessing as every other user of the file does.

    Raises:
        ImageError: A file cannot be decoded any more; the message names it.
    """
    labels = predictor.artifact.labels
    probabilities: list[list[float]] = []
    with tqdm(total=len(records), desc="scoring", unit="image", disable=None) as bar:
        for batch in _batches(records):
            predictions = predictor.predict_many([read_image(record.path) for record in batch])
            probabilities += [list(prediction.probabilities.values()) for prediction in predictions]
            bar.update(len(batch))
    return Scores(
        records=list(records),
        labels=labels,
        y_true=np.array([labels.index(record.label) for record in records], np.int64),
        y_score=np.array(probabilities, np.float64).reshape(-1, len(labels)),
        groups=np.array([record.group for record in records]),
    )


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


def covid_against_normal(scores: Scores) -> Scores:
    """Return the scores of COVID-19 and normal records as a question between these two.

    The probability of COVID-19 is p_covid / (p_covid + p_normal): where nothing else can be, what a model of three
    classes keeps for another pneumonia counts for neither.

    Raises:
        ManifestError: A record of another class.
    """
    pair = (Label.NORMAL, Label.COVID)
    if not {record.label for record in scores.records} <= set(pair):
        raise ManifestError("Expected COVID-19 and normal records only. Received others.")
    both = scores.y_score[:, [scores.labels.index(label) for label in pair]]
    return Scores(
        records=scores.records,
        labels=pair,
        y_true=np.array([pair.index(record.label) for record in scores.records], np.int64),
        y_score=both / np.maximum(both.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny),
        groups=scores.groups,
    )


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as CSV: id, source, view, patient_id, group, y_true, then one probability a class."""
    columns = ["id", "source", "view", "patient_id", "group", "y_true", *scores.labels]
    write_table(path, columns, (_row(record, row) for record, row in zip(scores.records, scores.y_score, strict=True)))


def _row(record: Record, probabilities: NDArray[np.float64]) -> list[str]:
    about = [record.id, record.source, record.view, record.patient_id, record.group, record.label]
    return [*about, *(f"{value:.8g}" for value in probabilities)]


def read_scores(path: Path, records: Sequence[Record]) -> Scores:
    """Read scores written by write_scores for just these records.

    Raises:
        ManifestError: The file holds other records.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        labels = tuple(label for label in LABELS if label in (reader.fieldnames or ()))
        rows = list(reader)
    if [row["id"] for row in rows] != [record.id for record in records]:
        raise ManifestError(f"Expected the scores of {len(records)} records in {path}. Received those of others.")
    return Scores(
        records=list(records),
        labels=labels,
        y_true=np.array([labels.index(record.label) for record in records], np.int64),
        y_score=np.array([[float(row[label]) for label in labels] for row in rows], np.float64),
        groups=np.array([record.group for record in records]),
    )
