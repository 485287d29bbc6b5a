import json
import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from covidcxr import __version__
from covidcxr.cli import cli
from covidcxr.data.manifest import read_manifest, write_manifest
from covidcxr.errors import CovidCxrError, RecipeError
from covidcxr.evaluation import cross_source
from covidcxr.evaluation.cross_source import joint_intervals, leave_two_out
from covidcxr.evaluation.leave_out import COVID_ORIGINS, PAIRS, Pair
from covidcxr.evaluation.scoring import Scores
from covidcxr.labels import Label
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts
from support.small_models import with_metadata
from support.small_recipes import small_recipe


@pytest.fixture
def scored(records):
    rng = np.random.default_rng(1)
    chosen = [record for record in records if record.label is not Label.PNEUMONIA]
    y_true = np.array([record.label is Label.COVID for record in chosen], np.int64)

    def pair(strength):
        score = 1 / (1 + np.exp(-strength * y_true - rng.normal(size=len(chosen))))
        return Scores(chosen, (Label.NORMAL, Label.COVID), np.stack([1 - score, score], 1))

    return {"hard": pair(0.5), "easy": pair(2.5)}


def test_mean_and_worst_over_pairs(scored):
    areas = {name: roc_auc_score(scores.y_true, scores.y_score[:, 1]) for name, scores in scored.items()}
    found = joint_intervals(scored, resamples=300)
    assert found["mean_auroc"].value == pytest.approx(np.mean(list(areas.values())))
    assert found["worst_auroc"].value == pytest.approx(min(areas.values()))
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


def test_pairs_are_drawn_together(scored):
    """The same scores twice are as uncertain as once: a bootstrap of each pair by itself would say less."""
    once = joint_intervals({"a": scored["hard"]}, resamples=300)["mean_auroc"]
    twice = joint_intervals({"a": scored["hard"], "b": scored["hard"]}, resamples=300)["mean_auroc"]
    assert twice == once


@pytest.fixture
def manifest(records, tmp_path):
    origins = {"nih": COVID_ORIGINS[0], "kermany": COVID_ORIGINS[1]}
    moved = [replace(r, origin=origins[r.origin]) if r.label is Label.COVID else r for r in records]
    write_manifest(moved, tmp_path / "manifest.csv")
    (tmp_path / "small.toml").write_text(small_recipe(phases='{ trainable = "all", epochs = 1, learning_rate = 1e-3 }'))
    return tmp_path / "manifest.csv"


@pytest.mark.slow
def test_it_trains_scores_and_resumes(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(cross_source, "PAIRS", PAIRS[:1])
    given = [str(tmp_path / "small.toml"), "--manifest", str(manifest), "--out", str(tmp_path / "unseen-hospitals")]
    result = CliRunner().invoke(cli, ["evaluate", "unseen-hospitals", *given], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "unseen-hospitals" / "report.json").read_text())
    (row,) = report["pairs"]
    assert (row["covid"], row["normal"]) == (PAIRS[0].covid, PAIRS[0].normal)
    assert row["test"] == {"normal": {"n": 10, "patients": 10}, "covid": {"n": 10, "patients": 10}}
    assert row["auroc"] == pytest.approx(report["metrics"]["worst_auroc"], abs=0.2)
    assert row["training_images"] == 20
    assert "Each pair" in (tmp_path / "unseen-hospitals" / "report.html").read_text()
    assert len(list((tmp_path / "unseen-hospitals" / "cache").rglob("*.npy"))) == row["training_images"]

    monkeypatch.setattr(cross_source, "_in_new_process", lambda *_: pytest.fail("a known result was computed again"))
    again = CliRunner().invoke(cli, ["evaluate", "unseen-hospitals", *given], catch_exceptions=False)
    assert again.output == result.output
    assert json.loads((tmp_path / "unseen-hospitals" / "report.json").read_text()) == report


@pytest.fixture
def unseen_hospitals(manifest, model_file, tmp_path, monkeypatch):
    """Run unseen-hospitals on one pair with the tiny model as the trained one; return scores and count of trainings."""
    monkeypatch.setattr(cross_source, "PAIRS", PAIRS[:1])
    monkeypatch.setattr(cross_source, "joint_intervals", lambda _: {})  # takes long
    monkeypatch.setattr(cross_source, "_row", lambda _, scores, *__: scores.y_score.round(6).tolist())
    trainings = []

    def train(text, manifest, run, model, cache):
        trainings.append(model)
        parts = split_parts(read_manifest(manifest), parse_recipe(text, "small"))
        with_metadata(model_file, model, recipe=text, data_hash=parts.training_hash, version=__version__)

    monkeypatch.setattr(cross_source, "_in_new_process", lambda train, *given: train(*given))

    def run():
        trainings.clear()
        out = tmp_path / "unseen-hospitals"
        report = leave_two_out(read_manifest(manifest), str(tmp_path / "small.toml"), out, train)
        return report["pairs"], len(trainings)

    return run


@contextmanager
def another_recipe(recipe):
    """Change a recipe until the end of the block."""
    text = recipe.read_text()
    recipe.write_text(text.replace("seed = 3", "seed = 4"))
    yield
    recipe.write_text(text)


def regroup(manifest):
    """Change what a model can learn from the records."""
    records = read_manifest(manifest)
    write_manifest([replace(record, group=f"other {record.group}") for record in records], manifest)


def test_results_of_another_recipe_or_manifest_are_not_taken(unseen_hospitals, manifest, tmp_path):
    scores, trainings = unseen_hospitals()
    assert trainings == 1
    assert unseen_hospitals() == (scores, 0), "known results are kept"
    with another_recipe(tmp_path / "small.toml"), pytest.raises(RecipeError, match="Expected a new folder"):
        unseen_hospitals()
    assert unseen_hospitals() == (scores, 0)
    regroup(manifest)
    with pytest.raises(RecipeError, match="Expected a new folder"):
        unseen_hospitals()


def test_a_folder_with_unknown_results_is_refused(unseen_hospitals, tmp_path):
    unseen_hospitals()
    folder = tmp_path / "unseen-hospitals" / PAIRS[0].name
    (folder / "run.json").unlink()
    with pytest.raises(RecipeError, match=f"Expected a new or empty run folder. Received {folder}"):
        unseen_hospitals()


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def refused(*given):
    raise RecipeError(f"no network {given}")


def test_a_training_in_a_new_process_fails_with_its_own_message():
    with pytest.raises(RecipeError, match=r"no network \(1, 2\)"):
        cross_source._in_new_process(refused, 1, 2)
    with pytest.raises(CovidCxrError, match="training process was killed"):
        cross_source._in_new_process(killed)


def test_a_failed_training_is_an_error(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(cross_source, "PAIRS", (Pair(COVID_ORIGINS[0], "nih"),))
    (tmp_path / "small.toml").write_text(small_recipe().replace('"seed_cnn"', '"no_such_network"'))
    given = [str(tmp_path / "small.toml"), "--manifest", str(manifest), "--out", str(tmp_path / "unseen-hospitals")]
    result = CliRunner().invoke(cli, ["evaluate", "unseen-hospitals", *given])
    assert result.exit_code == 1
    assert "no_such_network" in str(result.exception)
