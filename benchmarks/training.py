"""Images per second of the network alone and of the whole training pipeline: ``make bench-training``.

Both train the same network in the last phase of the recipe ``finetuned``, because the head of ``default`` is computed.
Alone: training steps on one batch in memory. Pipeline: an epoch of covidcxr.training.fit, from decoded images through
order, augmentation and tf.data to the network. The difference is the cost of the pipeline. Writes
benchmarks/training.json and the figures in the docs. Run on an otherwise idle machine.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from run import machine, summary
from tqdm import tqdm

from covidcxr._system import keep_freed_memory
from covidcxr.data.manifest import Record, Split, View
from covidcxr.images.phantom import radiograph
from covidcxr.labels import LABELS
from covidcxr.recipes.recipe import Recipe, parse_recipe, recipe_text
from covidcxr.training.batches import Batches, pipeline
from covidcxr.training.fit import compile_phase, make_batches, make_network, set_trainable
from covidcxr.training.precision import compute_exactly

HERE = Path(__file__).parent
RECIPE = "finetuned"
IMAGES, ROUNDS = 192, 5
SIDE = 512
TARGET = 0.8
"""Smallest ratio of pipeline to network that the project accepts."""


def radiographs(folder: Path) -> list[Record]:
    """Draw training images and save them as PNG files."""
    records = []
    for number in tqdm(range(IMAGES), desc="drawing", disable=None):
        path, label = folder / f"{number}.png", LABELS[number % len(LABELS)]
        Image.fromarray(radiograph(np.random.default_rng(number), size=(SIDE, SIDE))).save(path)
        about = {"source": "synthetic", "origin": "synthetic", "finding": label, "licence": "Apache-2.0", "sex": ""}
        records.append(
            Record(
                id=str(number),
                path=path,
                patient_id=str(number),
                label=label,
                view=View.PA,
                age=None,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                width=SIDE,
                height=SIDE,
                group=str(number),
                split=Split.TRAIN,
                **about,
            )
        )
    return records


def network(recipe: Recipe, steps: int) -> keras.Model:
    """Return the network as the last phase of the recipe trains it."""
    phase = recipe.training.phases[-1]
    model = make_network(recipe, recipe.model.weights)
    set_trainable(model, phase.trainable)
    compile_phase(model, phase, steps=steps)
    return model


def network_speed(model: keras.Model, batches: Batches) -> float:
    """Return the images per second of an epoch's number of steps, all on its first batch."""
    images, y_true, weights = (tf.constant(part) for part in batches[0])
    begin = time.perf_counter()
    for _ in range(len(batches)):
        model.train_on_batch(images, y_true, sample_weight=weights)
    return len(batches) * len(images) / (time.perf_counter() - begin)


def pipeline_speed(model: keras.Model, batches: Batches) -> float:
    """Return the images per second of an epoch, including its start."""
    begin = time.perf_counter()
    model.fit(pipeline(batches), shuffle=False, verbose=0)
    return IMAGES / (time.perf_counter() - begin)


def measure(folder: Path) -> dict[str, object]:
    """Time both in turn, without the first round, in which TensorFlow traces its graphs."""
    recipe = parse_recipe(recipe_text(RECIPE), RECIPE)
    batches = make_batches(radiographs(folder), recipe, training=True)
    model = network(recipe, len(batches))
    rounds = []
    for batches.epoch in tqdm(range(ROUNDS + 1), desc="rounds", disable=None):
        rounds.append((network_speed(model, batches), pipeline_speed(model, batches)))
    networks, pipelines = map(list, zip(*rounds[1:], strict=True))
    ratios = [whole / bare for bare, whole in rounds[1:]]
    return {
        "machine": machine(),
        "versions": {name: version(name) for name in ("tensorflow", "keras")},
        "recipe": RECIPE,
        "trainable": recipe.training.phases[-1].trainable,
        "batch_size": recipe.training.batch_size,
        "images": IMAGES,
        "network_images_per_s": summary(networks),
        "pipeline_images_per_s": summary(pipelines),
        "ratio": summary(ratios),
        "target": TARGET,
    }


def main() -> None:
    """Measure under the settings of ``covidcxr train``, write the results, and update the figures in the docs."""
    keep_freed_memory()
    compute_exactly()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    (HERE / "training.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([sys.executable, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
