"""Training of a recipe in a run folder. A stopped run resumes when it is started again."""

import platform
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from covidcxr import __version__
from covidcxr._files import whole
from covidcxr.data.manifest import Record
from covidcxr.errors import RecipeError
from covidcxr.evaluation.scoring import Scores, class_indices, write_scores
from covidcxr.recipes.recipe import Phase, Recipe, parse_recipe
from covidcxr.recipes.run_folder import RECIPE, RUN, holds_run, write_run
from covidcxr.recipes.selection import Parts, split_parts
from covidcxr.training.batches import Batches, balanced_weights, load_images, pipeline
from covidcxr.training.callbacks import EpochSeed, FiniteLoss, History, Progress, check_finite
from covidcxr.training.networks import build, lung_cells
from covidcxr.training.precision import compute_exactly, precision
from covidcxr.training.robust_features import set_robust_head

PARTS, HISTORY, MODEL = "parts.csv", "history.csv", "model.keras"
"""Files of a run folder, next to those of covidcxr.recipes.run_folder, curves.png and the folder checkpoints."""
VALIDATION = "validation.csv"
"""Scores of the validation images, for covidcxr.training.calibration; only in runs that have validation groups."""


def train(
    records: Sequence[Record],
    recipe_text: str,
    out: Path,
    *,
    mixed_precision: bool = False,
    cache: Path | None = None,
) -> None:
    """Train a recipe.

    Args:
        records: Records of the manifest; those in the split ``train`` that the recipe selects are used.
        recipe_text: Recipe as TOML.
        out: Run folder: new, empty, or that of a run of the same recipe, data and precision, which is resumed.
        mixed_precision: Whether to compute in float16 below the head; see covidcxr.training.precision.
        cache: Folder of decoded images (covidcxr.training.image_cache); None decodes every image.

    Raises:
        RecipeError: The recipe is invalid, the folder holds a different run, or a loss or weight is not finite.
        ManifestError: A class of the recipe has no record.
        ImageError: An image of the manifest cannot be decoded.
    """
    recipe = parse_recipe(recipe_text, "recipe")
    parts = split_parts(records, recipe)
    keras.utils.set_random_seed(recipe.training.seed)
    compute_exactly()
    with precision(mixed=mixed_precision):  # before the folder is made: a recipe without a network leaves none
        model = make_network(recipe, recipe.model.weights)
    _open_run(out, recipe_text, recipe, parts, mixed_precision=mixed_precision)
    if (out / MODEL).exists():
        return
    validation = make_batches(parts.validation, recipe, training=False, cache=cache) if parts.validation else None
    if recipe.training.robust_head:
        set_robust_head(model, recipe.training.robust_head, parts.train, recipe, cache)
    else:
        _fit(model, recipe, make_batches(parts.train, recipe, training=True, cache=cache), validation, out)
    check_finite(model, out)
    trained = make_network(recipe, None)  # in float32
    trained.set_weights(model.get_weights())
    if validation:  # before the network is saved, so that every finished run has it
        write_scores(_validation_scores(trained, recipe, parts.validation, validation), out / VALIDATION)
    with whole(out / MODEL) as partial:
        trained.save(partial)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)  # there are none after a computed head


def make_network(recipe: Recipe, weights: str | None) -> keras.Model:
    """Build the network of a recipe; ``weights`` as in covidcxr.training.networks.build."""
    return build(
        recipe.model.architecture,
        size=recipe.preprocessing.size,
        classes=len(recipe.labels),
        weights=weights,
        dropout=recipe.model.dropout,
    )


def _open_run(out: Path, text: str, recipe: Recipe, parts: Parts, *, mixed_precision: bool) -> None:
    """Write what the run depends on, or compare it with what the folder holds."""
    depends = {
        "recipe": recipe.name,
        "data_hash": parts.training_hash,
        "covidcxr": __version__,
        "mixed_precision": mixed_precision,
    }
    if holds_run(out, depends, recipe=text):
        return
    rows = [f"{record.id},{part}\n" for part in ("train", "validation") for record in getattr(parts, part)]
    environment = {
        "seed": recipe.training.seed,
        "labels": recipe.labels,
        "images": {"train": len(parts.train), "validation": len(parts.validation)},
        "python": platform.python_version(),
        **{package: version(package) for package in ("tensorflow", "keras", "numpy", "pillow")},
    }
    write_run(out, depends | environment, {RECIPE: text, PARTS: "id,part\n" + "".join(rows)})


def make_batches(records: Sequence[Record], recipe: Recipe, *, training: bool, cache: Path | None = None) -> Batches:
    """Decode images and divide them into batches; for training, they are shuffled, augmented and weighted."""
    y_true = class_indices(records, recipe.labels)
    weighted = training and recipe.training.class_weights
    weights: NDArray[np.float32] = np.ones(len(records), np.float32)
    return Batches(
        load_images(records, recipe.preprocessing, cache),
        y_true,
        balanced_weights(y_true, len(recipe.labels)) if weighted else weights,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        augmentation=recipe.augmentation if training else None,
    )


def _fit(model: keras.Model, recipe: Recipe, batches: Batches, validation: Batches | None, out: Path) -> None:
    phases = recipe.training.phases
    progress = Progress(total=len(batches) * sum(phase.epochs for phase in phases))
    first = 0
    for number, phase in enumerate(phases):
        set_trainable(model, phase.trainable)
        compile_phase(model, phase, steps=len(batches))
        callbacks = [
            keras.callbacks.BackupAndRestore(
                out / "checkpoints" / f"phase{number}", double_checkpoint=True, delete_checkpoint=False
            ),
            EpochSeed(batches, recipe.training.seed),
            progress,
            History(out / HISTORY, out / "curves.png"),
            FiniteLoss(out),
        ]
        model.fit(
            pipeline(batches),
            validation_data=pipeline(validation) if validation else None,
            initial_epoch=first,
            epochs=first + phase.epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        first += phase.epochs
    progress.close()


def _validation_scores(model: keras.Model, recipe: Recipe, records: list[Record], batches: Batches) -> Scores:
    y_score = np.asarray(model.predict(pipeline(batches), verbose=0), np.float64)
    if y_score.shape[1] == 1:  # a sigmoid gives only the second class
        y_score = np.hstack([1 - y_score, y_score])
    return Scores(records, recipe.labels, y_score)


def set_trainable(model: keras.Model, first: str) -> None:
    """Make the layers from ``first`` on trainable and freeze those before it; ``all`` freezes none.

    Batch normalisation in a network with a ``head`` keeps its ImageNet statistics: batches that two cores can handle
    are too small to estimate them. A nested network, such as the lung finder, is never trained.

    Raises:
        RecipeError: There is no such layer, or the features by which the network finds the lungs would change.
    """
    names = [layer.name for layer in model.layers]
    if first != "all" and first not in names:
        raise RecipeError(f"Expected 'all' or a layer of {model.name} as trainable. Received {first!r}.")
    start = 0 if first == "all" else names.index(first)
    if lung_cells.NAME in names and start <= names.index(lung_cells.SEEN):
        raise RecipeError(
            f"Expected a layer after {lung_cells.SEEN} as trainable: {model.name} finds the lungs by its output. "
            f"Received {first!r}."
        )
    for place, layer in enumerate(model.layers):
        frozen = isinstance(layer, keras.layers.BatchNormalization | keras.Model) and "head" in names
        layer.trainable = place >= start and not frozen


def compile_phase(model: keras.Model, phase: Phase, *, steps: int) -> None:
    """Compile the network with the optimizer and the loss of a phase; call ``set_trainable`` first.

    Args:
        model: The network.
        phase: Phase of the recipe.
        steps: Batches per epoch.
    """
    rate: float | keras.optimizers.schedules.LearningRateSchedule = phase.learning_rate
    if phase.decay:
        rate = keras.optimizers.schedules.CosineDecay(phase.learning_rate, steps * phase.epochs)
    binary = model.output_shape[-1] == 1
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="binary_crossentropy" if binary else "sparse_categorical_crossentropy",
        weighted_metrics=["accuracy"] if binary else ["sparse_categorical_accuracy"],
    )
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces the first step twice


def load_run(run: Path) -> tuple[keras.Model, Recipe]:
    """Load the trained network and the recipe of a finished run.

    Raises:
        RecipeError: The folder is no run, is not finished, or has unreadable files; the message names them.
    """
    missing: Iterable[str] = [name for name in (RUN, RECIPE, MODEL) if not (run / name).is_file()]
    if missing:
        raise RecipeError(f"Expected a finished run of 'covidcxr train'. Received {run} without {', '.join(missing)}.")
    try:
        recipe = parse_recipe((run / RECIPE).read_text("utf-8"), str(run / RECIPE))
        return keras.models.load_model(run / MODEL), recipe
    except (OSError, KeyError, ValueError) as error:
        raise RecipeError(f"Expected a readable {RECIPE} and {MODEL} in {run}. Received: {error}") from error
