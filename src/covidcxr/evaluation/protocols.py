"""The evaluation protocols of an exported model file; every figure has a 95 % interval by bootstrap over patients.

The protocol unseen-hospitals, which trains, is in covidcxr.evaluation.cross_source.
"""

import csv
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from covidcxr import __version__
from covidcxr.data.manifest import GROWN_UP, Record, Split, data_hash
from covidcxr.data.sources import Role, children_origins, origins
from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.controls import SPLITS, THUMBNAIL_SIDE, oracle_scores, thumbnail_scores, thumbnail_splits
from covidcxr.evaluation.metrics import Estimate, Metric
from covidcxr.evaluation.report import SAYS, TITLES, EvaluationReport
from covidcxr.evaluation.scoring import Scores, covid_against_normal, score
from covidcxr.evaluation.summary import (
    SEED,
    accuracy,
    accuracy_by,
    as_json,
    confusion,
    count,
    covid_column,
    describe,
    discrimination,
    divide,
    figures,
)
from covidcxr.evaluation.uncertainty import measure_sets, selective_accuracy
from covidcxr.labels import Label, Protocol
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.selection import Parts, trained_parts

PUBLISHED = {"accuracy": 0.96, "precision": 0.97, "recall": 0.94, "f1": 0.96}
"""Figures published for the classic recipe, on 72 test images."""
ADULT_ORIGINS = tuple(sorted(set(origins(Role.NORMAL)) - children_origins()))
"""Origins of healthy adults that the recipe ``classic`` has not seen."""
TOO_GOOD = 0.95
"""AUROC on the external set; credible studies report 0.77 to 0.83."""
ALARM = f" An AUROC above {TOO_GOOD} on such a hard task is an alarm, not a success: look for a shortcut."


def evaluate(protocol: Protocol, predictor: Predictor, records: Sequence[Record]) -> tuple[EvaluationReport, Scores]:
    """Run a protocol.

    Args:
        protocol: Any but unseen-hospitals.
        predictor: The model; its file holds the recipe and the hash of its training data.
        records: The manifest it was trained on.

    Returns:
        The report and the scores of its test images; for external, those of COVID-19 against normal.

    Raises:
        RecipeError: The protocol does not fit the classes of the model.
        ManifestError: The model was trained on another manifest, so it may have seen the test images.
    """
    parts = trained_parts(records, predictor)
    if protocol is Protocol.EXTERNAL:
        scores = covid_against_normal(score(predictor, [r for r in records if r.split is Split.EXTERNAL]))
    else:
        scores = score(predictor, parts.test)
    head: EvaluationReport = {
        "protocol": protocol,
        "title": TITLES[protocol],
        "says": SAYS[protocol],
        "model": predictor.model,
        "covidcxr": __version__,
        "manifest": data_hash(records),
        "data": describe(scores),
        "training_images": len(parts.train),
    }
    return head | PROTOCOLS[protocol](predictor, records, parts, scores), scores


def classic(predictor: Predictor, _: Sequence[Record], __: Parts, scores: Scores) -> EvaluationReport:
    """Return accuracy, precision, recall and F1 of COVID-19 against normal, as the classic recipe reports them."""
    _expect_binary(predictor)
    covid = covid_column(scores)
    measured: dict[str, Metric] = {
        "accuracy": metrics.accuracy,
        "precision": metrics.ppv(covid),
        "recall": metrics.sensitivity(covid),
        "f1": metrics.f1(covid),
        "specificity": metrics.specificity(covid),
        "auroc": metrics.auroc(covid),
        "average_precision": metrics.average_precision(covid),
        "calibration_error": metrics.calibration_error,
    }
    found = figures(measured, scores)
    return {
        "metrics": as_json(found),
        "published": PUBLISHED,
        "published_accuracy_in_interval": found["accuracy"].low <= PUBLISHED["accuracy"] <= found["accuracy"].high,
        "confusion": confusion(scores),
    }


def controls(predictor: Predictor, records: Sequence[Record], parts: Parts, scores: Scores) -> EvaluationReport:
    """Return what a thumbnail and the collection's name reach, and the share of healthy adults called COVID-19."""
    _expect_binary(predictor)
    adults = [record for record in records if _is_adult_normal(record)]
    if not adults:
        raise ManifestError(f"Expected healthy adults of {' or '.join(ADULT_ORIGINS)} for controls. Received none.")
    adult_scores = score(predictor, adults)
    cleared = figures({"cleared": metrics.specificity(covid_column(scores))}, adult_scores)["cleared"]
    spread = thumbnail_splits(parts, scores.labels)
    return {
        "metrics": {
            "network_accuracy": accuracy(scores),
            "thumbnail_accuracy": accuracy(thumbnail_scores(parts, scores)),
            "source_oracle_accuracy": accuracy(oracle_scores(parts, scores)),
            "healthy_adults_called_covid": Estimate(1 - cleared.value, 1 - cleared.high, 1 - cleared.low).to_dict(),
        },
        "thumbnail_splits": {
            "n": SPLITS,
            "mean": float(spread.mean()),
            "low": float(spread.min()),
            "high": float(spread.max()),
        },
        "thumbnail_side": THUMBNAIL_SIDE,
        "healthy_adults": describe(adult_scores),
    }


def held_out(predictor: Predictor, _: Sequence[Record], parts: Parts, scores: Scores) -> EvaluationReport:
    """Return figures of normal, other pneumonia and COVID-19 on held-out patients, beside the controls."""
    if len(scores.labels) != len(Label):
        raise RecipeError(f"Expected a model of three classes for held-out. Received {', '.join(scores.labels)}.")
    measured: dict[str, Metric] = {
        "accuracy": metrics.accuracy,
        "macro_f1": metrics.macro_f1,
        "calibration_error": metrics.calibration_error,
    }
    for index, label in enumerate(scores.labels):
        measured |= {
            f"sensitivity_{label}": metrics.sensitivity(index),
            f"specificity_{label}": metrics.specificity(index),
            f"ppv_{label}": metrics.ppv(index),
            f"auroc_{label}": metrics.auroc(index),
        }
    measured["sensitivity_covid_at_specificity_90"] = metrics.sensitivity_at(covid_column(scores), 0.9)
    control: dict[str, Metric] = {"macro_f1": metrics.macro_f1, "accuracy": metrics.accuracy}
    return {
        "metrics": as_json(figures(measured, scores)),
        "controls": {
            "thumbnail": as_json(figures(control, thumbnail_scores(parts, scores))),
            "source_oracle": as_json(figures(control, oracle_scores(parts, scores))),
        },
        "confusion": confusion(scores),
        "by_source": accuracy_by(scores, lambda record: record.source),
        "by_view": accuracy_by(scores, lambda record: record.view),
        **_uncertainty(predictor.artifact.conformal, scores),
    }


def _uncertainty(conformal: Conformal | None, scores: Scores) -> EvaluationReport:
    """Return accuracy on the surest images, and figures of the prediction sets if the model has them."""
    given = (scores.y_true, scores.y_score, scores.groups)
    accuracies = selective_accuracy(*given, seed=SEED)
    report: EvaluationReport = {
        "selective": [{"answered": share, "accuracy": value.to_dict()} for share, value in accuracies.items()]
    }
    if conformal:
        measured = measure_sets(conformal, scores.labels, *given, seed=SEED)
        report["prediction_sets"] = {"coverage": conformal.coverage, "metrics": as_json(measured)}
    return report


def external(_: Predictor, __: Sequence[Record], ___: Parts, scores: Scores) -> EvaluationReport:
    """Return figures of COVID-19 against normal in the external hospital, overall and by view."""
    covid, overall = covid_column(scores), discrimination(scores)
    return {
        "says": SAYS[Protocol.EXTERNAL] + (ALARM if overall["auroc"].value > TOO_GOOD else ""),
        "metrics": as_json(overall),
        "confusion": confusion(scores),
        "rows": [
            {"view": view, "covid": int((part.y_true == covid).sum()), "normal": int((part.y_true != covid).sum())}
            | count(part)
            | (as_json(discrimination(part)) if len(np.unique(part.y_true)) == len(part.labels) else {})
            for view, part in divide(scores, lambda record: record.view).items()
        ],
    }


PROTOCOLS: dict[Protocol, Callable[[Predictor, Sequence[Record], Parts, Scores], EvaluationReport]] = {
    Protocol.CLASSIC: classic,
    Protocol.CONTROLS: controls,
    Protocol.EXTERNAL: external,
    Protocol.HELD_OUT: held_out,
}
LOG_COLUMNS = ("date", "model", "covidcxr", "images", "patients", "auroc", "low", "high")


def log_external(report: EvaluationReport, path: Path) -> None:
    """Append a line to the log of evaluations on the external set: each one makes the next worth less."""
    auroc = report["metrics"]["auroc"]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    ends = (f"{auroc[key]:.4f}" for key in ("value", "low", "high"))
    row = [today, report["model"], report["covidcxr"], report["data"]["n"], report["data"]["patients"], *ends]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(LOG_COLUMNS)
        writer.writerow(row)


def _expect_binary(predictor: Predictor) -> None:
    labels = predictor.artifact.labels
    if labels != (Label.NORMAL, Label.COVID):
        raise RecipeError(
            f"Expected a model of normal against covid, such as the recipe classic. Received {predictor.model} with "
            f"{', '.join(labels)}."
        )


def _is_adult_normal(record: Record) -> bool:
    """Tell whether a record shows a healthy person of ADULT_ORIGINS, who is an adult if the age is published."""
    internal = record.split is not Split.EXTERNAL and record.origin in ADULT_ORIGINS
    return internal and record.label is Label.NORMAL and (record.age is None or record.age >= GROWN_UP)
