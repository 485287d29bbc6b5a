"""Fit a recipe into a run folder. The same command on the same folder goes on where it was stopped."""

import platform
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from covidcxr import __version__
from covidcxr.data.manifest import Record
from covidcxr.errors import RecipeError
from covidcxr.evaluation.scoring import Scores, write_scores
from covidcxr.recipes.recipe import Phase, Recipe, parse_recipe
from covidcxr.recipes.run_folder import RECIPE, RUN, holds_run, write_run
from covidcxr.recipes.selection import Parts, split_parts
from covidcxr.training.batches import Batches, balanced_weights, class_indices, load_images
from covidcxr.training.callbacks import EpochSeed, FiniteLoss, History, Progress, check_finite
from covidcxr.training.devices import Machine, compute_exactly
from covidcxr.training.networks import build, lung_cells
from covidcxr.training.robust_features import set_robust_head

PARTS, HISTORY, MODEL = "parts.csv", "history.csv", "model.keras"
"""Files of a run folder; beside them those of covidcxr.recipes.run_folder, curves.png and the folder checkpoints."""
VALIDATION = "validation.csv"
"""Further file of a run with validation groups: what the trained network says of them, see
covidcxr.training.calibration."""


def train(
    records: Sequence[Record],
    recipe_text: str,
    out: Path,
    *,
    machine: Machine = Machine(),  # noqa: B008 - frozen
    cache: Path | None = None,
) -> None:
    """Train a recipe.

    Args:
        records: The manifest; of it, the records with split ``train`` that the recipe selects.
        recipe_text: The recipe as TOML.
        out: Run folder: new, empty, or one of the same recipe, data and machine settings to go on with.
        machine: How the run uses the machine.
        cache: Folder of decoded images, see covidcxr.training.image_cache; None decodes them anew.

    Raises:
        RecipeError: The recipe is not valid, the folder holds another run, or a loss or weight is no finite number.
        ImageError: An image of the manifest cannot be decoded any more.
    """
    recipe = parse_recipe(recipe_text, "recipe")
    parts = split_parts(records, recipe)
    keras.utils.set_random_seed(recipe.training.seed)
    compute_exactly()
    with machine.precision(), machine.strategy().scope():  # first: a recipe that gives no network leaves no folder
        model = make_network(recipe, recipe.model.weights)
    _open_run(out, recipe_text, recipe, parts, machine)
    if (out / MODEL).exists():
        return
    validation = make_batches(parts.validation, recipe, training=False, cache=cache) if parts.validation else None
    if recipe.training.robust_head:
        set_robust_head(model, recipe.training.robust_head, parts.train, recipe, cache)
    else:
        _fit(model, recipe, make_batches(parts.train, recipe, training=True, cache=cache), validation, out)
    check_finite(model, out)
    trained = make_network(recipe, None)  # in float32 on one device, whatever the machine settings
    trained.set_weights(model.get_weights())
    if validation:  # before the network: a finished run always has it
        write_scores(_validation_scores(trained, recipe, parts.validation, validation), out / VALIDATION)
    partial = out / f"partial-{MODEL}"
    trained.save(partial)
    partial.replace(out / MODEL)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)  # a computed head leaves none


def make_network(recipe: Recipe, weights: str | None) -> keras.Model:
    """Build the network of a recipe with ``weights``; see covidcxr.training.networks.build."""
    return build(
        recipe.model.architecture,
        size=recipe.preprocessing.size,
        classes=len(recipe.labels),
        weights=weights,
        dropout=recipe.model.dropout,
    )


def _open_run(out: Path, text: str, recipe: Recipe, parts: Parts, machine: Machine) -> None:
    """Write what the run depends on, or check it against what the folder holds."""
    depends = {
        "recipe": recipe.name,
        "data_hash": parts.training_hash,
        "covidcxr": __version__,
        "machine": machine.to_dict(),
    }
    if holds_run(out, depends, recipe=text, unsaid={"machine": Machine().to_dict()}):
        return
    rows = [f"{record.id},{part}\n" for part in ("train", "validation") for record in getattr(parts, part)]
    environment = {
        "seed": recipe.training.seed,
        "labels": recipe.labels,
        "images": {"train": len(parts.train), "validation": len(parts.validation)},
        "devices": machine.names(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("tensorflow", "keras", "numpy", "pillow")},
    }
    write_run(out, depends | environment, {RECIPE: text, PARTS: "id,part\n" + "".join(rows)})


def make_batches(records: Sequence[Record], recipe: Recipe, *, training: bool, cache: Path | None = None) -> Batches:
    """Decode the images of a recipe's records; in training, batches are shuffled, augmented and weighted as it says."""
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
    history = History(out / HISTORY, out / "curves.png")
    replicas = model.distribute_strategy.num_replicas_in_sync
    progress = Progress(total=len(batches) * sum(phase.epochs for phase in phases))
    first = 0
    for number, phase in enumerate(phases):
        set_trainable(model, phase.trainable)
        with model.distribute_strategy.scope():
            compile_phase(model, phase, steps=len(batches))
        callbacks = [
            keras.callbacks.BackupAndRestore(
                out / "checkpoints" / f"phase{number}", double_checkpoint=True, delete_checkpoint=False
            ),
            EpochSeed(batches, seed=recipe.training.seed, first_epoch=first),
            progress.phase(first),
            history.phase(first),
            FiniteLoss(out),
        ]
        model.fit(
            batches.dataset(replicas),
            validation_data=validation.dataset(replicas) if validation else None,
            epochs=phase.epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        first += phase.epochs
    progress.close()


def _validation_scores(model: keras.Model, recipe: Recipe, records: list[Record], batches: Batches) -> Scores:
    y_score = np.asarray(model.predict(batches.dataset(), verbose=0), np.float64)
    if y_score.shape[1] == 1:  # a sigmoid gives the second class alone
        y_score = np.hstack([1 - y_score, y_score])
    return Scores(
        records=records,
        labels=recipe.labels,
        y_true=class_indices(records, recipe.labels),
        y_score=y_score,
        groups=np.array([record.group for record in records]),
    )


def set_trainable(model: keras.Model, first: str) -> None:
    """Let the layers from ``first`` on learn and freeze those before; ``all`` freezes none.

    Batch normalisation of a network that has a ``head`` keeps its ImageNet statistics: batches that fit two cores are
    too small to estimate them anew. A network within the network, such as the one that finds the lungs, stays as it is.

    Raises:
        RecipeError: The network has no such layer, or finds the lungs by features that would change.
    """
    names = [layer.name for layer in model.layers]
    if first != "all" and first not in names:
        raise RecipeError(f"Expected 'all' or a layer of {model.name} as trainable. Received {first!r}.")
    start = 0 if first == "all" else names.index(first)
    if lung_cells.NAME in names and start <= names.index(lung_cells.SEEN):
        raise RecipeError(
            f"Expected a layer after {lung_cells.SEEN} as trainable, by whose output {model.name} finds the lungs. "
            f"Received {first!r}."
        )
    for place, layer in enumerate(model.layers):
        given = isinstance(layer, keras.layers.BatchNormalization | keras.Model) and "head" in names
        layer.trainable = place >= start and not given


def compile_phase(model: keras.Model, phase: Phase, *, steps: int) -> None:
    """Give the network the optimizer and the loss of a phase with so many steps an epoch; ``set_trainable`` first."""
    rate: float | keras.optimizers.schedules.LearningRateSchedule = phase.learning_rate
    if phase.decay:
        rate = keras.optimizers.schedules.CosineDecay(phase.learning_rate, steps * phase.epochs)
    binary = model.output_shape[-1] == 1
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="binary_crossentropy" if binary else "sparse_categorical_crossentropy",
        weighted_metrics=["accuracy"] if binary else ["sparse_categorical_accuracy"],
    )


def load_run(run: Path) -> tuple[keras.Model, Recipe]:
    """Load the trained network and the recipe of a finished run.

    Raises:
        RecipeError: Not a run folder, not finished, or with files that cannot be read; the message says which.
    """
    missing: Iterable[str] = [name for name in (RUN, RECIPE, MODEL) if not (run / name).is_file()]
    if missing:
        raise RecipeError(f"Expected a finished run of 'covidcxr train'. Received {run} without {', '.join(missing)}.")
    try:
        recipe = parse_recipe((run / RECIPE).read_text("utf-8"), str(run / RECIPE))
        return keras.models.load_model(run / MODEL), recipe
    except (OSError, KeyError, ValueError) as error:
        raise RecipeError(f"Expected a run whose {RECIPE} and {MODEL} can be read. Received {run}: {error}") from error
