import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from covidcxr.cli import cli
from covidcxr.data.manifest import write_manifest
from covidcxr.errors import RecipeError
from covidcxr.evaluation.scoring import read_scores
from covidcxr.recipes.selection import split_parts
from covidcxr.training.batches import load_images
from covidcxr.training.callbacks import FiniteLoss
from covidcxr.training.fit import HISTORY, MODEL, VALIDATION, load_run, set_trainable, train
from support.processes import eventually
from support.small_networks import few_blocks
from support.small_recipes import small_recipe

pytestmark = pytest.mark.slow

COVIDCXR = Path(sys.executable).with_name("covidcxr")
LONG = small_recipe(phases='{ trainable = "all", epochs = 12, learning_rate = 1e-3 }')


def weights_of(run):
    return load_run(run)[0].get_weights()


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(records, LONG, out)
    return out


def test_a_run_folder_holds_what_the_run_depends_on(finished):
    about = json.loads((finished / "run.json").read_text())
    assert about["labels"] == ["normal", "covid"]
    assert about["images"]["train"] == 30
    assert {"tensorflow", "keras", "python", "seed", "data_hash"} <= set(about)
    assert (finished / "recipe.toml").read_text() == LONG
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = pd.read_csv(finished / HISTORY)
    assert list(history["epoch"]) == list(range(1, 13))
    assert history["loss"].between(0, 10).all()
    assert not (finished / "checkpoints").exists()
    assert not (finished / VALIDATION).exists(), "it has no validation groups"


def test_a_stopped_run_goes_on_and_ends_the_same(records, finished, tmp_path):
    """One run, which Ctrl-C stops in its second epoch or later, and a kill two epochs later at least."""
    write_manifest(records, tmp_path / "manifest.csv")
    (tmp_path / "long.toml").write_text(LONG)
    out = tmp_path / "run"
    arguments = [tmp_path / "long.toml", "--manifest", tmp_path / "manifest.csv", "--out", out]
    stopped = stop_in(arguments, signal.SIGINT, after=1)
    assert stopped < 12
    assert stop_in(arguments, signal.SIGKILL, after=stopped + 2) < 12
    again = CliRunner().invoke(cli, ["train", *map(str, arguments)], catch_exceptions=False)
    assert again.exit_code == 0
    assert "training" in again.stderr
    assert [int(epoch) for epoch in pd.read_csv(out / HISTORY)["epoch"]] == list(range(1, 13))
    for resumed, whole in zip(weights_of(out), weights_of(finished), strict=True):
        assert (resumed == whole).all()


def stop_in(arguments, stop, *, after):
    """Train in a process of its own, stop it after so many epochs, and return how many are in its history."""
    history = arguments[-1] / HISTORY
    process = subprocess.Popen([COVIDCXR, "train", *arguments], stderr=subprocess.DEVNULL)
    eventually(lambda: history.exists() and len(history.read_text().splitlines()) > after, 120, process=process)
    process.send_signal(stop)
    assert process.wait(60) == (130 if stop is signal.SIGINT else -signal.SIGKILL)
    assert not (arguments[-1] / MODEL).exists()
    return len(history.read_text().splitlines()) - 1


def test_a_run_stopped_in_the_first_epoch_of_a_phase_ends_the_same(records, tmp_path, monkeypatch):
    phases = ", ".join(f'{{ trainable = "all", epochs = 2, learning_rate = {rate} }}' for rate in ("1e-3", "1e-4"))
    recipe = small_recipe(phases=phases)
    train(records, recipe, tmp_path / "whole")
    table = tmp_path / "run" / HISTORY

    def stop(self, batch, logs=None):
        if table.exists() and len(pd.read_csv(table)) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FiniteLoss, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train(records, recipe, tmp_path / "run")
    train(records, recipe, tmp_path / "run")
    assert list(pd.read_csv(table)["epoch"]) == [1, 2, 3, 4]
    for resumed, whole in zip(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"), strict=True):
        assert (resumed == whole).all()


def test_a_folder_of_another_run_is_refused(records, finished, tmp_path):
    with pytest.raises(RecipeError, match=r"another recipe\.toml"):
        train(records, small_recipe(), finished)
    relabelled = [replace(records[0], group="other"), *records[1:]]
    with pytest.raises(RecipeError, match=r"same run.*data_hash"):
        train(relabelled, LONG, finished)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RecipeError, match="other files"):
        train(records, LONG, tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "mine"
    with pytest.raises(RecipeError, match=r"without run\.json"):
        load_run(tmp_path)


@pytest.fixture(scope="module")
def validated(records, tmp_path_factory):
    """A run with validation groups whose scores could not be written at first."""

    def full_disk(*_):
        raise OSError("no space left")

    out = tmp_path_factory.mktemp("validated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("covidcxr.training.fit.write_scores", full_disk)
        with pytest.raises(OSError, match="no space"):
            train(records, small_recipe(folds=4), out)
    assert not (out / MODEL).exists()
    train(records, small_recipe(folds=4), out)
    return out


def test_what_the_network_says_of_the_validation_groups_is_kept(records, validated):
    model, recipe = load_run(validated)
    validation = split_parts(records, recipe).validation
    kept = read_scores(validated / VALIDATION)
    covid = model.predict(load_images(validation, recipe.preprocessing), verbose=0)[:, 0]
    assert kept.labels == recipe.labels
    assert kept.y_score == pytest.approx(np.column_stack([1 - covid, covid]), abs=1e-6)
    table = pd.read_csv(validated / VALIDATION)
    assert list(table["group"]) == [record.group for record in validation]
    assert list(table["source"]) == [record.source for record in validation]
    assert list(table["y_true"]) == [record.label for record in validation]


def test_a_finished_run_has_them(validated):
    """Also one whose scores could not be written at first, which its fixture checks."""
    assert (validated / VALIDATION).exists()
    assert (validated / MODEL).exists()
    assert list(pd.read_csv(validated / HISTORY)["epoch"]) == [1, 2, 3]


def test_a_training_without_a_finite_loss_leaves_no_network_and_starts_anew(records, validated, tmp_path, monkeypatch):
    """The new start has another seed than the run with validation groups, and gives another network."""
    recipe = small_recipe(folds=4).replace("seed = 3", "seed = 4")
    monkeypatch.setattr(
        "covidcxr.training.fit.balanced_weights", lambda y_true, _: np.full(len(y_true), np.nan, np.float32)
    )
    with pytest.raises(RecipeError, match="Expected a finite loss in"):
        train(records, recipe, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.toml", "run.json", "parts.csv"}
    monkeypatch.undo()
    train(records, recipe, tmp_path)
    assert list(pd.read_csv(tmp_path / HISTORY)["epoch"]) == [1, 2, 3]
    assert not all(np.array_equal(a, b) for a, b in zip(weights_of(tmp_path), weights_of(validated), strict=True))


def test_a_network_without_finite_weights_is_not_saved(records, tmp_path, monkeypatch):
    def fit(model, *_):
        model.set_weights([weights * np.nan for weights in model.get_weights()])

    monkeypatch.setattr("covidcxr.training.fit._fit", fit)
    with pytest.raises(RecipeError, match="Expected finite weights in"):
        train(records, small_recipe(folds=4), tmp_path)
    assert not {MODEL, VALIDATION} & {path.name for path in tmp_path.iterdir()}


def test_phases_train_the_layers_they_name(records, tmp_path):
    phase = '{ trainable = "%s", epochs = 1, learning_rate = 1e-3 }'
    phases = ", ".join(phase % layer for layer in ("head", "top"))
    recipe = small_recipe(
        architecture="efficientnet_lite0", labels=["normal", "pneumonia", "covid"], folds=4, phases=phases
    )
    with few_blocks():
        train(records, recipe, tmp_path / "run")
    model, _ = load_run(tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / HISTORY)
    assert list(history["epoch"]) == [1, 2]
    assert history["val_loss"].notna().all()
    set_trainable(model, "head")
    assert {layer.name for layer in model.layers if layer.trainable_weights} == {"head"}
    set_trainable(model, "top")
    assert {layer.name for layer in model.layers if layer.trainable_weights} == {"top", "head"}
    with pytest.raises(RecipeError, match="nonsense"):
        set_trainable(model, "nonsense")


def test_a_recipe_that_gives_no_network_leaves_no_folder(records, tmp_path):
    with pytest.raises(RecipeError):
        train(records, LONG.replace('architecture = "', 'architecture = "no_'), tmp_path / "run")
    assert not (tmp_path / "run").exists()
