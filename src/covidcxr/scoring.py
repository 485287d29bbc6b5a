"""Records to scores.csv: every figure of a report starts from what the predictor says of the exported file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.images import read_image
from covidcxr.labels import Label
from covidcxr.manifest import Record
from covidcxr.predictor import Predictor

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


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as CSV: id, source, view, patient_id, group, y_true, then one probability a class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "source", "view", "patient_id", "group", "y_true", *scores.labels])
        for record, row in zip(scores.records, scores.y_score, strict=True):
            about = [record.id, record.source, record.view, record.patient_id, record.group, record.label]
            writer.writerow([*about, *(f"{value:.6f}" for value in row)])
