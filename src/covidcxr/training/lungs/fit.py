"""Fit the two networks that find lungs into a run folder, export, test. The same command goes on where it was stopped.

One gives fine masks of whole pictures (covidcxr.training.networks.lung_unet), the other coarse ones to the
classifier, by what
that has seen anyway (covidcxr.training.networks.lung_cells).
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from covidcxr import __version__
from covidcxr.data.fetch import file_sha256
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.recipes.recipe import Augmentation
from covidcxr.recipes.run_folder import holds_run, write_run
from covidcxr.training.callbacks import FiniteLoss, History, Progress, check_finite
from covidcxr.training.devices import compute_exactly
from covidcxr.training.lungs.data import LungPair, MaskBatches, find_pairs, load_pairs, pairs_hash, split_by_hospital
from covidcxr.training.lungs.export import CELLS_PREPROCESSING, PREPROCESSING, export
from covidcxr.training.lungs.report import evaluate, evaluate_cells
from covidcxr.training.networks import lung_cells
from covidcxr.training.networks.lung_unet import lung_unet

HISTORY, NETWORK, MODEL, REPORT, EXAMPLES = (
    *("history.csv", "model.keras", "lungs.onnx", "report.json", "examples.png"),
)
"""Files of a run folder; beside them run.json, curves.png and, while it trains, the folder checkpoints."""
CELLS = "cells"
"""Folder in it for the network of the cells, with NETWORK, HISTORY and the weights that lung_cells ships with."""
AUGMENTATION = Augmentation(flip=True, rotation=15, translation=0.1, zoom=0.2, brightness=0.1, contrast=0.3)
"""Wide, for the network must also find the lungs of children and of pictures cut in other ways."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run depends on beside its data.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Of Adam at the start; it falls to zero along a cosine.
        seed: Decides the hospitals held out, weights, order and augmentation.
    """

    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.batch_size > 0 and self.learning_rate > 0):
            raise ValueError(f"Expected epochs, batch size and learning rate above 0. Received {self}.")


def train(root: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Train and test both networks, and export the first.

    Args:
        root: Folder with the collections in their published layouts, and the masks; see covidcxr.training.lungs.data.
        out: Run folder: new, empty, or one of the same settings and data to go on with.
        settings: What the run depends on beside its data.

    Returns:
        What report.json holds.

    Raises:
        ManifestError: There are no pairs or too few hospitals.
        RecipeError: The folder holds another run, or a loss or weight is no finite number.
        ArtifactError: The exported file differs from Keras.
    """
    known, unseen = split_by_hospital(find_pairs(root), seed=settings.seed)
    data_hash = pairs_hash(known)
    depends = {"settings": asdict(settings), "data_hash": data_hash, "covidcxr": __version__}
    if not holds_run(out, depends):
        write_run(out, depends, {})
    keras.utils.set_random_seed(settings.seed)
    compute_exactly()
    network = _fitted(lung_unet(size=PREPROCESSING.size), PREPROCESSING, known, settings, out)
    export(network, out / MODEL, data_hash=data_hash)
    report = evaluate(LungSegmenter.load(out / MODEL), known, unseen, out / EXAMPLES, seed=settings.seed)
    network = lung_cells.lung_cell_network(CELLS_PREPROCESSING.size)
    network = _fitted(network, CELLS_PREPROCESSING, known, settings, out / CELLS)
    network.get_layer(lung_cells.NAME).save_weights(out / CELLS / lung_cells.WEIGHTS)
    report["cells"] = evaluate_cells(network, CELLS_PREPROCESSING, unseen, seed=settings.seed)
    report |= {"settings": asdict(settings), "data_hash": data_hash, "sha256": file_sha256(out / MODEL)}
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def _fitted(
    model: keras.Model, preprocessing: Preprocessing, pairs: Sequence[LungPair], settings: Settings, out: Path
) -> keras.Model:
    """Return the trained network: from ``out`` where it stands there already."""
    if not (out / NETWORK).exists():
        out.mkdir(exist_ok=True)
        _fit(model, preprocessing, pairs, settings, out)
    return keras.models.load_model(out / NETWORK, compile=False)


def _fit(
    model: keras.Model, preprocessing: Preprocessing, pairs: Sequence[LungPair], settings: Settings, out: Path
) -> None:
    images, masks = load_pairs(pairs, preprocessing)
    batches = MaskBatches(images, masks, batch_size=settings.batch_size, seed=settings.seed, augmentation=AUGMENTATION)
    steps = len(batches) * settings.epochs
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=lung_loss, metrics=[pixel_accuracy])
    progress = Progress(total=steps)
    callbacks = [
        keras.callbacks.BackupAndRestore(out / "checkpoints", double_checkpoint=True, delete_checkpoint=False),
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(batches, "epoch", epoch)),
        progress.phase(0),
        History(out / HISTORY, out / "curves.png").phase(0),
        FiniteLoss(out),
    ]
    model.fit(batches.dataset(), epochs=settings.epochs, callbacks=callbacks, shuffle=False, verbose=0)
    progress.close()
    check_finite(model, out)
    partial = out / f"partial-{NETWORK}"
    model.save(partial)
    partial.replace(out / NETWORK)
    shutil.rmtree(out / "checkpoints")


def lung_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Cross-entropy, which gives probabilities, plus soft Dice of every image, which weighs small lungs like large.

    Args:
        y_true: float32, shape (n, size, size, 1), 0..1.
        y_pred: The network's answer, of the same size or of cells of so many pixels that they fill it.

    Returns:
        float32, shape (n,).
    """
    y_true = _in_cells(y_true, y_pred)
    entropy = tf.reduce_mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=(1, 2))
    return entropy + keras.losses.dice(y_true, y_pred, axis=(1, 2, 3))


def pixel_accuracy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Return the share of pixels that are lung in both or in neither, at a threshold of 0.5; arguments as lung_loss."""
    y_true = _in_cells(y_true, y_pred)
    return tf.reduce_mean(tf.cast((y_true >= 0.5) == (y_pred >= 0.5), tf.float32), axis=(1, 2, 3))


def _in_cells(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    side = y_true.shape[1] // y_pred.shape[1]
    return tf.nn.avg_pool2d(y_true, side, side, "VALID")
