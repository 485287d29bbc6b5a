"""Training, export and test of the two lung networks in a run folder. A stopped run resumes when started again.

One network draws fine masks of whole images (covidcxr.training.networks.lung_unet). The other gives the classifier a
coarse mask, computed from the classifier's own features (covidcxr.training.networks.lung_cells).
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf

from covidcxr import DISCLAIMER, __version__
from covidcxr._files import whole, write_json
from covidcxr.data.download import file_sha256
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.artifact import LUNGS
from covidcxr.prediction.lungs import METADATA_KEY, LungSegmenter
from covidcxr.recipes.recipe import Augmentation
from covidcxr.recipes.run_folder import holds_run, write_run
from covidcxr.training.batches import pipeline
from covidcxr.training.callbacks import EpochSeed, FiniteLoss, History, Progress, check_finite
from covidcxr.training.export import convert, save_checked
from covidcxr.training.lungs.data import LungPair, MaskBatches, find_pairs, load_pairs, pairs_hash, split_by_hospital
from covidcxr.training.lungs.report import evaluate, evaluate_cells
from covidcxr.training.networks import lung_cells
from covidcxr.training.networks.lung_unet import lung_unet
from covidcxr.training.precision import compute_exactly

HISTORY, NETWORK, MODEL, REPORT, EXAMPLES = (
    *("history.csv", "model.keras", "lungs.onnx", "report.json", "examples.png"),
)
"""Files of a run folder, next to run.json, curves.png and, during training, the folder checkpoints."""
CELLS = "cells"
"""Folder in the run for the second network: NETWORK, HISTORY and the weights that the package ships."""
PREPROCESSING = Preprocessing(size=128, crop=1.0, equalize=True)
"""Input of the U-Net: the whole image, equalised because window and gamma differ between collections."""
CELLS_PREPROCESSING = Preprocessing(size=224, crop=0.8, equalize=True, blur=1.5)
"""Input of the second network: that of the recipe ``default``, whose features it reads."""
AUGMENTATION = Augmentation(flip=True, rotation=15, translation=0.1, zoom=0.2, brightness=0.1, contrast=0.3)
"""Strong, because the networks must also find the lungs of children and in differently cropped images."""
TOLERANCE = 1e-4
"""Largest difference of a probability between Keras and the exported file."""
LICENCE = "Apache-2.0; trained on lung masks of V7 Labs (CC BY 4.0) for images of covid-chestxray-dataset, see NOTICE"


@dataclass(frozen=True, kw_only=True)
class LungSettings:
    """Settings of a run.

    Attributes:
        epochs: Passes over the training images, above 0.
        batch_size: Images per step, above 0.
        learning_rate: Initial rate of Adam, above 0; it falls to zero along a cosine.
        seed: Seed of the held-out hospitals, the weights, the order and the augmentation.
    """

    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.batch_size > 0 and self.learning_rate > 0):
            raise ValueError(f"Expected epochs, batch size and learning rate above 0. Received {self}.")


def train_lungs(root: Path, out: Path, settings: LungSettings) -> dict[str, Any]:
    """Train and test both networks, and export the first.

    Args:
        root: Folder with the collections as published and the masks; see covidcxr.training.lungs.data.
        out: Run folder: new, empty, or that of a run of the same settings and data, which is resumed.
        settings: Settings of the run.

    Returns:
        Content of report.json.

    Raises:
        ManifestError: There are no pairs or too few hospitals.
        RecipeError: The folder holds a different run, or a loss or weight is not finite.
        ArtifactError: The exported file differs from Keras.
    """
    known, unseen = split_by_hospital(find_pairs(root), seed=settings.seed)
    data_hash = pairs_hash(known)
    depends = {"settings": asdict(settings), "data_hash": data_hash, "covidcxr": __version__}
    if not holds_run(out, depends):
        write_run(out, depends, {})
    keras.utils.set_random_seed(settings.seed)
    compute_exactly()
    network = _trained(lung_unet(size=PREPROCESSING.size), PREPROCESSING, known, settings, out)
    export_lungs(network, out / MODEL, data_hash=data_hash)
    report = evaluate(LungSegmenter.load(out / MODEL), known, unseen, out / EXAMPLES, seed=settings.seed)
    network = lung_cells.lung_cell_network(CELLS_PREPROCESSING.size)
    network = _trained(network, CELLS_PREPROCESSING, known, settings, out / CELLS)
    network.get_layer(lung_cells.NAME).save_weights(out / CELLS / lung_cells.WEIGHTS)
    report["cells"] = evaluate_cells(network, CELLS_PREPROCESSING, unseen, seed=settings.seed)
    report |= {"settings": asdict(settings), "data_hash": data_hash, "sha256": file_sha256(out / MODEL)}
    write_json(out / REPORT, report)
    return report


def export_lungs(model: keras.Model, out: Path, *, data_hash: str) -> None:
    """Write a trained U-Net as an ONNX file for covidcxr.prediction.lungs, after comparing it with Keras.

    Args:
        model: Network of lung_unet with the input size of PREPROCESSING.
        out: File to write; it appears only after it has passed the comparison.
        data_hash: sha256 of the training data; see pairs_hash.

    Raises:
        ArtifactError: The file differs from Keras by more than TOLERANCE.
    """
    serving = keras.Model(model.input, {LUNGS: model.output})
    proto = convert(serving, PREPROCESSING.size)
    about = {"preprocessing": asdict(PREPROCESSING), "covidcxr": __version__, "data_hash": data_hash}
    about |= {"licence": LICENCE, "intended_use": DISCLAIMER}
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(about, sort_keys=True)})
    save_checked(proto, serving, out, size=PREPROCESSING.size, tolerance=TOLERANCE)


def _trained(
    model: keras.Model, preprocessing: Preprocessing, pairs: Sequence[LungPair], settings: LungSettings, out: Path
) -> keras.Model:
    """Return the trained network: from the folder if it is there, else after training."""
    if not (out / NETWORK).exists():
        out.mkdir(exist_ok=True)
        _fit(model, preprocessing, pairs, settings, out)
    return keras.models.load_model(out / NETWORK, compile=False)


def _fit(
    model: keras.Model, preprocessing: Preprocessing, pairs: Sequence[LungPair], settings: LungSettings, out: Path
) -> None:
    images, masks = load_pairs(pairs, preprocessing)
    batches = MaskBatches(images, masks, batch_size=settings.batch_size, seed=settings.seed, augmentation=AUGMENTATION)
    steps = len(batches) * settings.epochs
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=lung_loss, metrics=[pixel_accuracy])
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces the first step twice
    progress = Progress(total=steps)
    callbacks = [
        keras.callbacks.BackupAndRestore(out / "checkpoints", double_checkpoint=True, delete_checkpoint=False),
        EpochSeed(batches, settings.seed),
        progress,
        History(out / HISTORY, out / "curves.png"),
        FiniteLoss(out),
    ]
    model.fit(pipeline(batches), epochs=settings.epochs, callbacks=callbacks, shuffle=False, verbose=0)
    progress.close()
    check_finite(model, out)
    with whole(out / NETWORK) as partial:
        model.save(partial)
    shutil.rmtree(out / "checkpoints")


def lung_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Return cross-entropy, which yields probabilities, plus soft Dice, which gives small and large lungs equal weight.

    Args:
        y_true: float32, shape (n, size, size, 1), 0..1.
        y_pred: Output of the network, 0..1: shape (n, size, size, 1), or (n, cells, cells, 1) where ``cells`` divides
            ``size``.

    Returns:
        float32, shape (n,).
    """
    y_true = _in_cells(y_true, y_pred)
    entropy = tf.reduce_mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=(1, 2))
    return entropy + keras.losses.dice(y_true, y_pred, axis=(1, 2, 3))


def pixel_accuracy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Return the share of pixels on which both agree at a threshold of 0.5; arguments as in lung_loss."""
    y_true = _in_cells(y_true, y_pred)
    return tf.reduce_mean(tf.cast((y_true >= 0.5) == (y_pred >= 0.5), tf.float32), axis=(1, 2, 3))


def _in_cells(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    side = y_true.shape[1] // y_pred.shape[1]
    return tf.nn.avg_pool2d(y_true, side, side, "VALID")
