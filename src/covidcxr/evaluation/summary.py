"""Figures of a set of scores, ready for JSON: the parts that reports are made of."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from covidcxr.data.manifest import Record
from covidcxr.evaluation import metrics
from covidcxr.evaluation.metrics import Estimate, Metric, estimate
from covidcxr.evaluation.scoring import Scores
from covidcxr.labels import Label

SEED = 0


def figures(measured: Mapping[str, Metric], scores: Scores) -> dict[str, Estimate]:
    """Compute metrics of scores with their intervals; see covidcxr.evaluation.metrics.estimate."""
    return estimate(measured, scores.y_true, scores.y_score, scores.groups, seed=SEED)


def as_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Turn estimates into JSON objects."""
    return {name: value.to_dict() for name, value in estimates.items()}


def covid_column(scores: Scores) -> int:
    """Return the column of COVID-19."""
    return scores.labels.index(Label.COVID)


def accuracy(scores: Scores) -> dict[str, float]:
    """Return the accuracy with its interval."""
    return figures({"accuracy": metrics.accuracy}, scores)["accuracy"].to_dict()


def discrimination(scores: Scores) -> dict[str, Estimate]:
    """Return AUROC, and sensitivity and specificity of the most probable class, for COVID-19 against the rest."""
    covid = covid_column(scores)
    measured: dict[str, Metric] = {
        "auroc": metrics.auroc(covid),
        "sensitivity": metrics.sensitivity(covid),
        "specificity": metrics.specificity(covid),
    }
    return figures(measured, scores)


def count(scores: Scores) -> dict[str, int]:
    """Return the numbers of images and of patients."""
    return {"n": len(scores.records), "patients": len(set(scores.groups))}


def count_by_label(scores: Scores) -> dict[str, dict[str, int]]:
    """Return the numbers of images and of patients of every class."""
    return {str(label): count(scores.where(scores.y_true == index)) for index, label in enumerate(scores.labels)}


def describe(scores: Scores) -> dict[str, Any]:
    """Count images and patients, by class and by collection."""
    counts = Counter((record.source, str(record.label)) for record in scores.records)
    return {
        **count(scores),
        "by_label": count_by_label(scores),
        "images": [{"source": source, "label": label, "n": n} for (source, label), n in sorted(counts.items())],
    }


def confusion(scores: Scores) -> dict[str, Any]:
    """Return the confusion matrix."""
    table = confusion_matrix(scores.y_true, scores.y_score.argmax(axis=1), labels=range(len(scores.labels)))
    return {"labels": list(map(str, scores.labels)), "rows_true_columns_predicted": table.tolist()}


def divide(scores: Scores, key: Callable[[Record], str]) -> dict[str, Scores]:
    """Divide scores by a value of their records, in alphabetical order of the values."""
    values = np.array([str(key(record)) for record in scores.records])
    return {str(value): scores.where(values == value) for value in np.unique(values)}


def accuracy_by(scores: Scores, key: Callable[[Record], str]) -> list[dict[str, Any]]:
    """Return numbers and accuracy for every value of the records, such as their view."""
    parts = divide(scores, key)
    return [{"value": value, **count(part), "accuracy": accuracy(part)} for value, part in parts.items()]
