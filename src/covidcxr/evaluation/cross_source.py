"""The protocol unseen-hospitals: train, export and score for every pair of origins, then one report over all pairs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidcxr import __version__
from covidcxr.data.manifest import Record, Split, data_hash, read_manifest, write_manifest
from covidcxr.errors import CovidCxrError, RecipeError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.controls import thumbnail_classifier, thumbnails
from covidcxr.evaluation.leave_out import PAIRS, Pair, fold
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray
from covidcxr.evaluation.protocols import as_json, count_by_label, discrimination
from covidcxr.evaluation.report import SAYS, TITLES, render
from covidcxr.evaluation.scoring import Scores, covid_against_normal, read_scores, score, write_scores
from covidcxr.labels import Label, Protocol
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import Recipe, parse_recipe, recipe_text
from covidcxr.recipes.run_folder import RECIPE, holds_run, write_run
from covidcxr.recipes.selection import Parts, split_parts

SEED = 0
MIN_BY_VIEW = 10
"""Images of each class below which no figure is given for a view."""
MANIFEST, TRAINED, MODEL, SCORES = "manifest.csv", "run", "model.onnx", "scores.csv"
"""What the folder of a pair holds, beside the files of covidcxr.recipes.run_folder."""
CACHE = "cache"
"""Folder of decoded images beside the folders of the pairs: every pair trains on many of the same pictures."""

Report = dict[str, Any]


def leave_two_out(records: Sequence[Record], recipe_name: str, out: Path) -> Report:
    """Train a recipe once for every pair and report how it does on sources that it has never seen.

    Every step whose result stands in ``out`` is skipped, a training that was stopped goes on.

    Args:
        records: The manifest.
        recipe_name: Name or file of the recipe; with three classes the score is P(COVID-19) among COVID-19 and normal
            alone, for the test holds nothing else.
        out: Folder; one folder a pair, and the decoded images.

    Raises:
        RecipeError: The recipe is not valid, or a folder holds what another recipe, other data or another version gave.
        ManifestError: A pair, or a class of the recipe, has no record.
        CovidCxrError: A training or export failed.
    """
    text = recipe_text(recipe_name)
    recipe = parse_recipe(text, recipe_name)
    scored = {pair: _pair_scores(fold(records, pair), text, recipe, out / pair.name) for pair in PAIRS}
    low_high = joint_intervals({pair.name: scores for pair, scores in scored.items()})
    return {
        "protocol": Protocol.UNSEEN_HOSPITALS,
        "title": TITLES[Protocol.UNSEEN_HOSPITALS],
        "says": SAYS[Protocol.UNSEEN_HOSPITALS],
        "model": trained_for_pairs(recipe.name),
        "covidcxr": __version__,
        "manifest": data_hash(records),
        "metrics": {name: value.to_dict() for name, value in low_high.items()},
        "pairs": [_row(pair, scores, fold(records, pair), recipe) for pair, scores in scored.items()],
    }


def trained_for_pairs(recipe_name: str) -> str:
    """Return what a report of unseen-hospitals names in place of a model file."""
    return f"recipe {recipe_name}, trained once for every pair"


def _pair_scores(records: Sequence[Record], text: str, recipe: Recipe, folder: Path) -> Scores:
    _open_pair(folder, text, recipe, split_parts(records, recipe))
    manifest, model, scores = folder / MANIFEST, folder / MODEL, folder / SCORES
    if not manifest.exists():
        write_manifest(records, manifest)
    tested = split_parts(read_manifest(manifest), recipe).test
    if scores.exists():
        return read_scores(scores, tested)
    if not model.exists():  # by the recipe of the folder: a file may change while the pairs before are trained
        given = [str(folder / RECIPE), "--manifest", str(manifest), "--cache", str(folder.parent / CACHE)]
        _run("train", *given, "--out", str(folder / TRAINED))
        _run("export", str(folder / TRAINED), "--out", str(model))
    result = covid_against_normal(score(Predictor.load(model), tested))
    write_scores(result, scores)
    return result


def _open_pair(folder: Path, text: str, recipe: Recipe, parts: Parts) -> None:
    """Write what the results of a pair depend on, or check it against what the folder holds."""
    depends = {"recipe": recipe.name, "data_hash": _data_hash(parts), "covidcxr": __version__}
    if holds_run(folder, depends, recipe=text):
        return
    held = (MANIFEST, TRAINED, MODEL, SCORES)
    if any((folder / name).exists() for name in held) and not _is_proven(folder, text, recipe, parts):
        raise RecipeError(
            f"Expected a new folder, or one whose {MANIFEST} and {MODEL} are of this recipe, these data and version "
            f"{__version__}. Received {folder}, where that cannot be told: choose another folder."
        )
    write_run(folder, depends, {RECIPE: text}, beside=held)


def _data_hash(parts: Parts) -> str:
    return data_hash(parts.train + parts.validation + parts.test)


def _is_proven(folder: Path, text: str, recipe: Recipe, parts: Parts) -> bool:
    """Tell whether a folder without run.json, which earlier ones lack, surely holds results of this recipe and data.

    The manifest shows what was tested, the model file what was trained. Without model and scores ``covidcxr train``
    checks what there is of a run.
    """
    manifest, model = folder / MANIFEST, folder / MODEL
    if not manifest.exists() or _data_hash(split_parts(read_manifest(manifest), recipe)) != _data_hash(parts):
        return False
    if not model.exists():
        return not (folder / SCORES).exists()
    about = Predictor.load(model).artifact
    return (about.recipe, about.data_hash, about.version) == (text, parts.training_hash, __version__)


def _run(*arguments: str) -> None:
    """Run a command of covidcxr in a process of its own, which gives all its memory back."""
    if subprocess.run([sys.executable, "-m", "covidcxr", *arguments], check=False).returncode:
        raise CovidCxrError(f"Expected 'covidcxr {' '.join(arguments)}' to succeed. Received a failure, see above.")


def _row(pair: Pair, scores: Scores, records: Sequence[Record], recipe: Recipe) -> Report:
    train = [record for record in records if record.split is Split.TRAIN]
    chosen = {selection.label for selection in recipe.data.select}
    binary = [record for record in train if record.label in (Label.COVID, Label.NORMAL)]
    features, y_true = thumbnails(binary), _is_covid(binary)
    control = thumbnail_classifier(features, y_true).predict_proba(thumbnails(scores.records))
    return {
        "covid": pair.covid,
        "normal": pair.normal,
        "test": count_by_label(scores),
        "training_images": sum(record.label in chosen for record in train),
        **as_json(discrimination(scores)),
        "thumbnail_auroc": as_json(discrimination(scores.with_scores(control)))["auroc"],
        "by_view": _by_view(scores),
    }


def _is_covid(records: Sequence[Record]) -> IntArray:
    return np.array([record.label is Label.COVID for record in records], np.int64)


def _by_view(scores: Scores) -> list[Report]:
    views = np.array([str(record.view) for record in scores.records])
    parts = [(view, scores.where(views == view)) for view in np.unique(views)]
    return [
        {"view": str(view), "test": count_by_label(part), **as_json(discrimination(part))}
        for view, part in parts
        if np.bincount(part.y_true, minlength=2).min() >= MIN_BY_VIEW
    ]


def joint_intervals(scored: Mapping[str, Scores], *, resamples: int = metrics.RESAMPLES) -> dict[str, Estimate]:
    """Return mean and worst AUROC over pairs with 95 % intervals.

    A COVID-19 image stands in several pairs, so all pairs are drawn together: one bootstrap sample draws groups from
    all of them, and every pair is measured on it.

    Args:
        scored: Scores of two classes by the name of the pair.
        resamples: Number of bootstrap samples.
    """
    groups = np.unique(np.concatenate([scores.groups for scores in scored.values()]))
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    weights = np.concatenate([np.ones((1, len(groups)), np.int64), counts])
    areas = np.stack(
        [
            weighted_aurocs(scores.y_true, scores.y_score[:, 1], weights[:, np.searchsorted(groups, scores.groups)])
            for scores in scored.values()
        ]
    )
    return {"mean_auroc": _percentiles(areas.mean(axis=0)), "worst_auroc": _percentiles(areas.min(axis=0))}


def _percentiles(values: FloatArray) -> Estimate:
    """Return the first value with the percentile interval of the others."""
    tails = [(1 - metrics.LEVEL) / 2, (1 + metrics.LEVEL) / 2]
    low, high = np.quantile(values[1:][np.isfinite(values[1:])], tails)
    return Estimate(float(values[0]), float(low), float(high))


def weighted_aurocs(y_true: IntArray, y_score: FloatArray, weights: NDArray[np.int64]) -> FloatArray:
    """Return the area under the ROC curve for many weightings of the same scores at once.

    Args:
        y_true: int64, shape (n,), 1 is positive.
        y_score: float64, shape (n,).
        weights: int64, shape (k, n): how often each image counts.

    Returns:
        float64, shape (k,); nan where a class has no weight.
    """
    values, place = np.unique(y_score, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    sorted_weights = weights[:, order].astype(np.float64)
    positive = np.add.reduceat(sorted_weights * y_true[order], starts, axis=1)
    negative = np.add.reduceat(sorted_weights * (1 - y_true[order]), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2  # a tie counts half
    with np.errstate(invalid="ignore"):
        areas: FloatArray = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return areas


def write_report(report: Report, out: Path) -> None:
    """Write report.json and report.html into the folder of the pairs."""
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    (out / "report.html").write_text(render(report, {}), "utf-8")
