"""The protocol unseen-hospitals: train, export and score for every pair of origins, then one report over all pairs."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr import __version__
from covidcxr.data.manifest import Record, Split, data_hash, read_manifest, write_manifest
from covidcxr.errors import CovidCxrError, ManifestError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.controls import thumbnail_classifier, thumbnails
from covidcxr.evaluation.leave_out import PAIRS, Pair, fold
from covidcxr.evaluation.metrics import Estimate, FloatArray
from covidcxr.evaluation.report import SAYS, TITLES, EvaluationReport
from covidcxr.evaluation.scoring import (
    Scores,
    class_indices,
    covid_against_normal,
    read_scores,
    score,
    write_scores,
)
from covidcxr.evaluation.summary import as_json, count_by_label, discrimination, divide
from covidcxr.labels import Protocol
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import Recipe, parse_recipe, recipe_text
from covidcxr.recipes.run_folder import RECIPE, holds_run, write_run
from covidcxr.recipes.selection import Parts, split_parts

SEED = 0
MIN_BY_VIEW = 10
"""Fewest images of each class for a figure of one view."""
MANIFEST, TRAINED, MODEL, SCORES = "manifest.csv", "run", "model.onnx", "scores.csv"
"""Content of the folder of a pair, beside the files of covidcxr.recipes.run_folder."""
CACHE = "cache"
"""Folder of decoded images beside the folders of the pairs: every pair trains on many of the same images."""

Train = Callable[[str, Path, Path, Path, Path], None]
"""``train(recipe, manifest, run, model, cache)``: train a recipe (TOML) on a manifest into a run folder, and export it
to a model file. A top-level function, which can be sent to another process."""


def leave_two_out(records: Sequence[Record], recipe_name: str, out: Path, train: Train) -> EvaluationReport:
    """Train a recipe once for every pair of origins, without them, and test it on the pair.

    Results already in ``out`` are kept, and an interrupted training continues.

    Args:
        records: The manifest.
        recipe_name: Name or file of the recipe. With three classes the score is P(COVID-19) among COVID-19 and normal.
        out: Folder with one folder per pair, and the decoded images.
        train: Called in a new process for each pair, so that each training gives its memory back.

    Raises:
        RecipeError: The recipe is not valid, or a folder holds results of another recipe, other data or another
            version.
        ManifestError: A pair, or a class of the recipe, has no record.
        CovidCxrError: A training or export failed.
    """
    text = recipe_text(recipe_name)
    recipe = parse_recipe(text, recipe_name)
    scored = {pair: _pair_scores(fold(records, pair), text, recipe, out / pair.name, train) for pair in PAIRS}
    low_high = joint_intervals({pair.name: scores for pair, scores in scored.items()})
    return {
        "protocol": Protocol.UNSEEN_HOSPITALS,
        "title": TITLES[Protocol.UNSEEN_HOSPITALS],
        "says": SAYS[Protocol.UNSEEN_HOSPITALS],
        "model": trained_for_pairs(recipe.name),
        "covidcxr": __version__,
        "manifest": data_hash(records),
        "metrics": as_json(low_high),
        "pairs": [_row(pair, scores, fold(records, pair), recipe) for pair, scores in scored.items()],
    }


def trained_for_pairs(recipe_name: str) -> str:
    """Return what a report of unseen-hospitals names in place of a model file."""
    return f"recipe {recipe_name}, trained once for every pair"


def _pair_scores(records: Sequence[Record], text: str, recipe: Recipe, folder: Path, train: Train) -> Scores:
    _open_pair(folder, text, recipe, split_parts(records, recipe))
    manifest, model, scores = folder / MANIFEST, folder / MODEL, folder / SCORES
    if not manifest.exists():
        write_manifest(records, manifest)
    tested = split_parts(read_manifest(manifest), recipe).test
    if scores.exists():
        return _known_scores(scores, tested)
    if not model.exists():
        _in_new_process(train, text, manifest, folder / TRAINED, model, folder.parent / CACHE)
    result = covid_against_normal(score(Predictor.load(model), tested))
    write_scores(result, scores)
    return result


def _known_scores(path: Path, records: list[Record]) -> Scores:
    table = read_scores(path)
    if table.ids != [record.id for record in records]:
        raise ManifestError(f"Expected the scores of {len(records)} test records. Received {path} with others.")
    return Scores(records, table.labels, table.y_score)


def _in_new_process(train: Train, *arguments: Any) -> None:  # noqa: ANN401 - the arguments of ``train``
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        pool.submit(train, *arguments).result()
    except KeyboardInterrupt:
        for child in active_children():
            child.terminate()
        raise
    except BrokenProcessPool as error:
        raise CovidCxrError("The training process was killed; it may have run out of memory.") from error
    finally:
        pool.shutdown()


def _open_pair(folder: Path, text: str, recipe: Recipe, parts: Parts) -> None:
    """Write what the results of a pair depend on, or check it against the content of the folder."""
    used = data_hash(parts.train + parts.validation + parts.test)
    depends = {"recipe": recipe.name, "data_hash": used, "covidcxr": __version__}
    if not holds_run(folder, depends, recipe=text):
        write_run(folder, depends, {RECIPE: text})


def _row(pair: Pair, scores: Scores, records: Sequence[Record], recipe: Recipe) -> dict[str, Any]:
    train = [record for record in records if record.split is Split.TRAIN]
    chosen = {selection.label for selection in recipe.data.select}
    binary = [record for record in train if record.label in scores.labels]
    classifier = thumbnail_classifier(thumbnails(binary), class_indices(binary, scores.labels))
    control = scores.with_scores(classifier.predict_proba(thumbnails(scores.records)))
    return {
        "covid": pair.covid,
        "normal": pair.normal,
        "test": count_by_label(scores),
        "training_images": sum(record.label in chosen for record in train),
        **as_json(discrimination(scores)),
        "thumbnail_auroc": discrimination(control)["auroc"].to_dict(),
        "by_view": [
            {"view": view, "test": count_by_label(part), **as_json(discrimination(part))}
            for view, part in divide(scores, lambda record: record.view).items()
            if np.bincount(part.y_true, minlength=2).min() >= MIN_BY_VIEW
        ],
    }


def joint_intervals(scored: Mapping[str, Scores], *, resamples: int = metrics.RESAMPLES) -> dict[str, Estimate]:
    """Return mean and worst AUROC over pairs with 95 % intervals.

    A COVID-19 image is in several pairs, so all pairs share each bootstrap sample: it draws groups from all of them,
    and every pair is measured on it.

    Args:
        scored: Scores of COVID-19 against normal by name of the pair.
        resamples: Number of bootstrap samples.
    """
    groups = np.unique(np.concatenate([scores.groups for scores in scored.values()]))
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    weights = np.concatenate([np.ones((1, len(groups))), counts])
    areas = np.stack(
        [
            metrics.area(scores.y_true == 1, scores.y_score[:, 1], weights[:, np.searchsorted(groups, scores.groups)])
            for scores in scored.values()
        ]
    )
    return {"mean_auroc": _percentiles(areas.mean(axis=0)), "worst_auroc": _percentiles(areas.min(axis=0))}


def _percentiles(values: FloatArray) -> Estimate:
    """Turn a value, followed by its bootstrap samples, into an estimate."""
    tails = [(1 - metrics.LEVEL) / 2, (1 + metrics.LEVEL) / 2]
    low, high = np.quantile(values[1:][np.isfinite(values[1:])], tails)
    return Estimate(float(values[0]), float(low), float(high))
