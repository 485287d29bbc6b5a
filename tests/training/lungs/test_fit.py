import json
import shutil

import keras
import numpy as np
import onnx
import pandas as pd
import pytest
from click.testing import CliRunner

from covidcxr.cli import cli
from covidcxr.errors import ArtifactError, RecipeError
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.training.callbacks import History
from covidcxr.training.lungs.data import find_pairs
from covidcxr.training.lungs.fit import (
    CELLS,
    EXAMPLES,
    HISTORY,
    MODEL,
    NETWORK,
    PREPROCESSING,
    REPORT,
    TOLERANCE,
    LungSettings,
    export_lungs,
    lung_loss,
    pixel_accuracy,
    train_lungs,
)
from covidcxr.training.networks.efficientnet_lite import load_backbone
from covidcxr.training.networks.lung_cells import NAME, WEIGHTS, lung_cells
from covidcxr.training.networks.lung_unet import lung_unet
from support.small_lungs import write_lungs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lungs")
    write_lungs(folder)
    return folder


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """Two epochs from the command line."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    command = ["lungs", "train", "--root", str(root), "--out", str(out), "--epochs", "2"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Dice" in done.stdout
    assert "training" in done.stderr
    return out


@pytest.fixture(scope="module")
def cells(finished):
    """The second network of that run."""
    return keras.models.load_model(finished / CELLS / NETWORK, compile=False)


def test_two_epochs_lower_the_loss_and_leave_everything(finished):
    history = pd.read_csv(finished / HISTORY)
    assert list(history["epoch"]) == [1, 2]
    assert history["loss"][1] < history["loss"][0]
    assert (finished / EXAMPLES).read_bytes().startswith(b"\x89PNG")
    assert LungSegmenter.load(finished / MODEL).preprocessing.size == 128
    assert not (finished / "checkpoints").exists()


def test_the_weights_of_the_cells_are_those_that_were_trained(finished, cells):
    """They are what lung_cells loads into the network of lung_pooled."""
    found = lung_cells(112, None)
    found.load_weights(finished / CELLS / WEIGHTS)
    assert cells.output_shape == (None, 14, 14, 1)
    pairs = zip(found.get_weights(), cells.get_layer(NAME).get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    history = pd.read_csv(finished / CELLS / HISTORY)
    assert history["loss"][1] < history["loss"][0]


def test_the_network_behind_the_cells_stays_as_imagenet_left_it(cells):
    backbone = load_backbone(64, "imagenet")
    for name in ("stem", "stage4_block2_project", "stage4_block2_project_bn"):
        pairs = zip(cells.get_layer(name).get_weights(), backbone.get_layer(name).get_weights(), strict=True)
        assert all((a == b).all() for a, b in pairs)


def test_the_report_says_what_was_held_out(finished, root):
    report = json.loads((finished / REPORT).read_text())
    held = report["hospitals_held_out"]
    assert len(held) == report["test"]["hospitals"] == 1
    assert report["test"]["n"] == sum(pair.hospital in held for pair in find_pairs(root)) == 4
    assert report["test"]["patients"] == 2
    assert report["training"] == {"n": 16, "patients": 8, "hospitals": 4}
    for part in (report, report["cells"]):
        assert 0 <= part["dice"]["low"] <= part["dice"]["value"] <= part["dice"]["high"] <= 1
    assert report["cells"]["cells"] == 14
    assert {"covidcxr", "tensorflow", "keras", "onnxruntime"} <= set(report["versions"])


def test_a_stopped_run_goes_on_and_ends_the_same(root, finished, tmp_path, monkeypatch):
    def stop(self, epoch, logs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train_lungs(root, tmp_path / "run", LungSettings(epochs=2))
    assert not (tmp_path / "run" / NETWORK).exists()
    shutil.copytree(finished / CELLS, tmp_path / "run" / CELLS)  # the next test trains the second network
    train_lungs(root, tmp_path / "run", LungSettings(epochs=2))
    assert list(pd.read_csv(tmp_path / "run" / HISTORY)["epoch"]) == [2], "the first is not trained again"
    resumed, whole = (keras.models.load_model(run / NETWORK, compile=False) for run in (tmp_path / "run", finished))
    assert all((a == b).all() for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))


def test_a_run_stopped_between_the_networks_ends_the_same(root, finished, cells, tmp_path):
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns(CELLS, REPORT))
    train_lungs(root, tmp_path / "run", LungSettings(epochs=2))
    resumed = keras.models.load_model(tmp_path / "run" / CELLS / NETWORK, compile=False).get_layer(NAME)
    whole = cells.get_layer(NAME)
    assert all((a == b).all() for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))


def test_a_folder_of_another_run_is_refused(root, finished, tmp_path):
    with pytest.raises(RecipeError, match="Expected a new folder"):
        train_lungs(root, finished, LungSettings(epochs=2, seed=1))
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RecipeError, match="other files"):
        train_lungs(root, tmp_path, LungSettings())
    assert (tmp_path / "letter.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="above 0"):
        LungSettings(epochs=0)


def test_a_training_without_a_finite_loss_leaves_no_network(root, tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.training.lungs.fit.lung_loss", lambda _, y_pred: np.nan * lung_loss(y_pred, y_pred))
    with pytest.raises(RecipeError, match="Expected a finite loss in"):
        train_lungs(root, tmp_path / "run", LungSettings(epochs=1))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_the_loss_is_least_where_the_answer_is_right():
    lungs = np.zeros((2, 16, 16, 1), np.float32)
    lungs[0, :8], lungs[1, :2, :2] = 1, 1
    right = np.asarray(lung_loss(lungs, lungs))
    empty = np.asarray(lung_loss(lungs, np.zeros_like(lungs)))
    assert right == pytest.approx([0, 0], abs=1e-4)
    assert (empty >= 1).all(), "small lungs that are missed cost a whole Dice"


def test_cells_are_compared_with_the_lung_in_them():
    lungs = np.zeros((1, 32, 32, 1), np.float32)
    lungs[0, :16], lungs[0, 16:, :8] = 1, 1
    cells = np.array([[1, 1], [0.5, 0]], np.float32)[np.newaxis, ..., np.newaxis]
    best = np.asarray(lung_loss(lungs, cells))
    assert all(best < np.asarray(lung_loss(lungs, np.abs(cells - off))) for off in (0.2, 0.5))
    assert np.asarray(pixel_accuracy(lungs, cells)) == 1


def test_accuracy_takes_pixels_for_lung_from_half_on():
    lungs = np.zeros((1, 10, 10, 1), np.float32)
    lungs[0, :4], lungs[0, 4] = 1, 0.4
    assert np.asarray(pixel_accuracy(lungs, lungs)) == 1
    assert np.asarray(pixel_accuracy(lungs, np.zeros_like(lungs))) == pytest.approx(0.6)


@pytest.fixture(scope="module")
def model():
    """A network whose normalisation has statistics other than 0 and 1, as a trained one has."""
    network = lung_unet(size=PREPROCESSING.size, channels=2)
    rng = np.random.default_rng(0)
    network.set_weights([weights + rng.uniform(-0.1, 0.1, weights.shape) for weights in network.get_weights()])
    return network


def test_shape_and_range(model):
    lungs = np.asarray(model(np.zeros((3, 128, 128, 1), np.uint8)))
    assert lungs.shape == (3, 128, 128, 1)
    assert lungs.dtype == np.float32
    assert lungs.min() >= 0
    assert lungs.max() <= 1


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "lungs.onnx"
    export_lungs(model, path, data_hash="0" * 64)
    return path


@pytest.mark.parametrize("batch", [1, 5, 33])
def test_the_file_equals_keras(model, exported, batch):
    segmenter = LungSegmenter.load(exported)
    assert segmenter.preprocessing == PREPROCESSING
    greys = [radiograph(np.random.default_rng(n), size=(96, 80)) for n in range(batch)]
    expected = np.asarray(model(np.stack([PREPROCESSING(grey) for grey in greys])[..., np.newaxis]))[..., 0]
    received = segmenter.probabilities(greys)
    assert np.ptp(expected) > 0.01
    assert np.abs(received - expected).max() <= TOLERANCE


def test_a_file_that_differs_is_noticed(model, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.training.lungs.fit.convert", lambda *_: onnx.load(exported))
    monkeypatch.setattr("covidcxr.training.lungs.fit.TOLERANCE", -1.0)
    with pytest.raises(ArtifactError, match="equal Keras"):
        export_lungs(model, tmp_path / "lungs.onnx", data_hash="0" * 64)
    assert not list(tmp_path.iterdir())
