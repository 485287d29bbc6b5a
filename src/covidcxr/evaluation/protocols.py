"""The evaluation protocols, from an exported model file and the manifest to a report.

Every figure comes with n and a 95 % interval by bootstrap over patients. The protocol unseen-hospitals, which trains,
is in covidcxr.evaluation.cross_source.
"""

import csv
import datetime
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from covidcxr import __version__
from covidcxr.data.manifest import GROWN_UP, Record, Split, data_hash
from covidcxr.data.sources import Role, children_origins, origins
from covidcxr.data.splits import grouped_split
from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.controls import THUMBNAIL_SIDE, source_oracle, thumbnail_classifier, thumbnails
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, estimate
from covidcxr.evaluation.report import SAYS, TITLES, plots, render
from covidcxr.evaluation.scoring import Scores, covid_against_normal, score, write_scores
from covidcxr.evaluation.uncertainty import measure_sets, selective_accuracy
from covidcxr.labels import Label, Protocol
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import Recipe, parse_recipe
from covidcxr.recipes.selection import Parts, split_parts

ADULT_ORIGINS = tuple(sorted(set(origins(Role.NORMAL)) - children_origins()))
"""Origins of healthy adults that no part of the recipe ``classic`` has seen."""
PUBLISHED = {"accuracy": 0.96, "precision": 0.97, "recall": 0.94, "f1": 0.96}
"""Figures published for the classic recipe, on 72 test images."""
SPLITS = 20
"""Random patient-level splits of the thumbnail control."""
TOO_GOOD = 0.95
"""AUROC on the external set; credible studies report 0.77 to 0.83."""
ALARM = f" An AUROC above {TOO_GOOD} on such a hard task is an alarm, not a success: look for a shortcut."
SEED = 0

Report = dict[str, Any]


def evaluate(protocol: Protocol, predictor: Predictor, records: Sequence[Record]) -> tuple[Report, Scores]:
    """Run a protocol.

    Args:
        protocol: Key of PROTOCOLS.
        predictor: The finished model; its metadata hold the recipe and the hash of its training data.
        records: The manifest it was trained on.

    Returns:
        The report (JSON-ready) and the scores of its test images; for external those of COVID-19 against normal.

    Raises:
        RecipeError: The protocol does not fit the classes of the model.
        ManifestError: The model was trained on another manifest, so that test images may be known to it.
    """
    recipe = parse_recipe(predictor.artifact.recipe, predictor.model)
    parts = split_parts(records, recipe)
    if parts.training_hash != predictor.artifact.data_hash:
        raise ManifestError(
            f"Expected the manifest on which {predictor.model} was trained (data hash {predictor.artifact.data_hash}). "
            f"Received one that gives {parts.training_hash}: its test images may have been seen in training."
        )
    if protocol is Protocol.EXTERNAL:
        scores = covid_against_normal(score(predictor, [r for r in records if r.split is Split.EXTERNAL]))
    else:
        scores = score(predictor, parts.test)
    head: Report = {
        "protocol": protocol,
        "title": TITLES[protocol],
        "says": SAYS[protocol],
        "model": predictor.model,
        "covidcxr": __version__,
        "manifest": data_hash(records),
        "data": _describe(scores),
        "training_images": len(parts.train),
    }
    return head | PROTOCOLS[protocol](predictor, records, recipe, parts, scores), scores


def _describe(scores: Scores) -> Report:
    counts = Counter((record.source, str(record.label)) for record in scores.records)
    return {
        "n": len(scores.records),
        "patients": len(set(scores.groups)),
        "by_label": count_by_label(scores),
        "images": [{"source": source, "label": label, "n": n} for (source, label), n in sorted(counts.items())],
    }


def count_by_label(scores: Scores) -> dict[str, dict[str, int]]:
    """Return the numbers of images and patients of every class."""
    return {
        str(label): {"n": int(chosen.sum()), "patients": len(set(scores.groups[chosen]))}
        for index, label in enumerate(scores.labels)
        for chosen in [scores.y_true == index]
    }


def classic(predictor: Predictor, _: Sequence[Record], recipe: Recipe, __: Parts, scores: Scores) -> Report:
    """Return accuracy, precision, recall and F1 of COVID-19 against normal, as the classic recipe reports them."""
    _expect_binary(predictor, recipe)
    estimates = _binary(scores)
    return {
        "metrics": as_json(estimates),
        "published": PUBLISHED,
        "published_accuracy_in_interval": _inside(PUBLISHED["accuracy"], estimates["accuracy"]),
        "confusion": _confusion(scores),
    }


def controls(predictor: Predictor, records: Sequence[Record], recipe: Recipe, parts: Parts, scores: Scores) -> Report:
    """Return figures of a thumbnail and of the collection's name alone, and the share of healthy adults called ill."""
    _expect_binary(predictor, recipe)
    adults = [record for record in records if _is_adult_normal(record)]
    if not adults:
        raise ManifestError(f"Expected healthy adults of {' or '.join(ADULT_ORIGINS)} for controls. Received none.")
    adult_scores = score(predictor, adults)
    called = _estimates({"called_covid": metrics.specificity(_positive(scores))}, adult_scores)["called_covid"]
    spread = _thumbnail_splits(parts, scores.labels)
    return {
        "metrics": {
            "network_accuracy": _accuracy_of(scores),
            "thumbnail_accuracy": _accuracy_of(_thumbnail_scores(parts, scores)),
            "source_oracle_accuracy": _accuracy_of(scores.with_scores(_oracle(parts, scores))),
            "healthy_adults_called_covid": Estimate(1 - called.value, 1 - called.high, 1 - called.low).to_dict(),
        },
        "thumbnail_splits": {
            "n": SPLITS,
            "mean": float(spread.mean()),
            "low": float(spread.min()),
            "high": float(spread.max()),
        },
        "thumbnail_side": THUMBNAIL_SIDE,
        "healthy_adults": _describe(adult_scores),
    }


def held_out(predictor: Predictor, _: Sequence[Record], recipe: Recipe, parts: Parts, scores: Scores) -> Report:
    """Return figures of normal, other pneumonia and COVID-19 on held-out patients, with controls."""
    if len(recipe.labels) != len(Label):
        raise RecipeError(f"Expected a model of three classes for held-out. Received {', '.join(recipe.labels)}.")
    measured: dict[str, metrics.Metric] = {
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
    covid = _positive(scores)
    measured["sensitivity_covid_at_specificity_90"] = metrics.sensitivity_at(covid, 0.9)
    control = {"macro_f1": metrics.macro_f1, "accuracy": metrics.accuracy}
    return {
        "metrics": as_json(_estimates(measured, scores)),
        "controls": {
            "thumbnail": as_json(_estimates(control, _thumbnail_scores(parts, scores))),
            "source_oracle": as_json(_estimates(control, scores.with_scores(_oracle(parts, scores)))),
        },
        "confusion": _confusion(scores),
        "by_source": _accuracy_by(scores, lambda record: record.source),
        "by_view": _accuracy_by(scores, lambda record: record.view),
        **_uncertainty(predictor.artifact.conformal, scores),
    }


def _uncertainty(conformal: Conformal | None, scores: Scores) -> Report:
    """Selective prediction, and the prediction sets of a model that has them."""
    given = (scores.y_true, scores.y_score, scores.groups)
    accuracies = selective_accuracy(*given, seed=SEED)
    report: Report = {
        "selective": [{"answered": share, "accuracy": value.to_dict()} for share, value in accuracies.items()]
    }
    if conformal:
        measured = measure_sets(conformal, scores.labels, *given, seed=SEED)
        report["prediction_sets"] = {"coverage": conformal.coverage, "metrics": as_json(measured)}
    return report


def external(_: Predictor, __: Sequence[Record], ___: Recipe, ____: Parts, scores: Scores) -> Report:
    """Return figures of COVID-19 against normal in the external hospital, overall and by view."""
    covid, whole = _positive(scores), discrimination(scores)
    views = np.array([str(record.view) for record in scores.records])
    parts = {str(view): scores.where(views == view) for view in np.unique(views)}
    return {
        "says": SAYS[Protocol.EXTERNAL] + (ALARM if whole["auroc"].value > TOO_GOOD else ""),
        "metrics": as_json(whole),
        "confusion": _confusion(scores),
        "rows": [
            {"view": view, "covid": int((part.y_true == covid).sum()), "normal": int((part.y_true != covid).sum())}
            | {"n": len(part.records), "patients": len(set(part.groups))}
            | (as_json(discrimination(part)) if len(np.unique(part.y_true)) == len(part.labels) else {})
            for view, part in parts.items()
        ],
    }


LOG_COLUMNS = ("date", "model", "covidcxr", "images", "patients", "auroc", "low", "high")


def log_external(report: Report, path: Path) -> None:
    """Append a line to the log of evaluations on the external set: each one makes the next worth less."""
    auroc = report["metrics"]["auroc"]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    figures = (f"{auroc[key]:.4f}" for key in ("value", "low", "high"))
    row = [today, report["model"], report["covidcxr"], report["data"]["n"], report["data"]["patients"], *figures]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(LOG_COLUMNS)
        writer.writerow(row)


PROTOCOLS: dict[Protocol, Callable[[Predictor, Sequence[Record], Recipe, Parts, Scores], Report]] = {
    Protocol.CLASSIC: classic,
    Protocol.CONTROLS: controls,
    Protocol.EXTERNAL: external,
    Protocol.HELD_OUT: held_out,
}


def _expect_binary(predictor: Predictor, recipe: Recipe) -> None:
    if recipe.labels != (Label.NORMAL, Label.COVID):
        raise RecipeError(
            f"Expected a model of normal against covid, such as the recipe classic. Received {predictor.model} with "
            f"{', '.join(recipe.labels)}."
        )


def _positive(scores: Scores) -> int:
    return scores.labels.index(Label.COVID)


def _binary(scores: Scores) -> dict[str, Estimate]:
    covid = _positive(scores)
    return _estimates(
        {
            "accuracy": metrics.accuracy,
            "precision": metrics.ppv(covid),
            "recall": metrics.sensitivity(covid),
            "f1": metrics.f1(covid),
            "specificity": metrics.specificity(covid),
            "auroc": metrics.auroc(covid),
            "average_precision": metrics.average_precision(covid),
            "calibration_error": metrics.calibration_error,
        },
        scores,
    )


def discrimination(scores: Scores) -> dict[str, Estimate]:
    """Return AUROC, and sensitivity and specificity at the most probable class, of COVID-19 against the rest."""
    covid = _positive(scores)
    measured: dict[str, metrics.Metric] = {
        "auroc": metrics.auroc(covid),
        "sensitivity": metrics.sensitivity(covid),
        "specificity": metrics.specificity(covid),
    }
    return _estimates(measured, scores)


def _estimates(measured: Mapping[str, metrics.Metric], scores: Scores) -> dict[str, Estimate]:
    return estimate(measured, scores.y_true, scores.y_score, scores.groups, seed=SEED)


def as_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Return estimates as JSON takes them."""
    return {name: value.to_dict() for name, value in estimates.items()}


def _accuracy_of(scores: Scores) -> dict[str, float]:
    return as_json(_estimates({"accuracy": metrics.accuracy}, scores))["accuracy"]


def _inside(value: float, interval: Estimate) -> bool:
    return interval.low <= value <= interval.high


def _is_adult_normal(record: Record) -> bool:
    """Whether a record shows a healthy adult, as far as the age is published, of ADULT_ORIGINS."""
    internal = record.split is not Split.EXTERNAL and record.origin in ADULT_ORIGINS
    return internal and record.label is Label.NORMAL and (record.age is None or record.age >= GROWN_UP)


def _oracle(parts: Parts, scores: Scores) -> FloatArray:
    return source_oracle(parts.train + parts.validation, parts.test, scores.labels)


def _indices(records: Sequence[Record], labels: Sequence[Label]) -> IntArray:
    return np.array([labels.index(record.label) for record in records], np.int64)


def _thumbnail_scores(parts: Parts, scores: Scores) -> Scores:
    train = parts.train + parts.validation
    classifier = thumbnail_classifier(thumbnails(train), _indices(train, scores.labels))
    return scores.with_scores(classifier.predict_proba(thumbnails(parts.test)))


def _thumbnail_splits(parts: Parts, labels: Sequence[Label]) -> FloatArray:
    """Accuracy of the thumbnail control on SPLITS random 80/20 splits of all images of the recipe by patient."""
    records = parts.train + parts.validation + parts.test
    place = {record.id: index for index, record in enumerate(records)}
    features, y_true = thumbnails(records), _indices(records, labels)
    accuracies = []
    for seed in range(SPLITS):
        train, test = ([place[record.id] for record in part] for part in grouped_split(records, seed=seed))
        classifier = thumbnail_classifier(features[train], y_true[train])
        accuracies.append(float(classifier.score(features[test], y_true[test])))
    return np.array(accuracies)


def _confusion(scores: Scores) -> Report:
    table = confusion_matrix(scores.y_true, scores.y_score.argmax(axis=1), labels=range(len(scores.labels)))
    return {"labels": list(map(str, scores.labels)), "rows_true_columns_predicted": table.tolist()}


def _accuracy_by(scores: Scores, key: Callable[[Record], str]) -> list[Report]:
    values = np.array([str(key(record)) for record in scores.records])
    rows = []
    for value in np.unique(values):
        part = scores.where(values == value)
        numbers = {"n": len(part.records), "patients": len(set(part.groups))}
        rows.append({"value": str(value), **numbers, "accuracy": _accuracy_of(part)})
    return rows


def write_report(report: Report, scores: Scores, out: Path) -> None:
    """Write scores.csv, report.json, report.html and the plots into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_scores(scores, out / "scores.csv")
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    figures = plots(scores)
    for name, png in figures.items():
        (out / f"{name}.png").write_bytes(png)
    (out / "report.html").write_text(render(report, figures), "utf-8")
