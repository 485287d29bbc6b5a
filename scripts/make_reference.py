"""The distributions over the training images of a model, which ``covidcxr batch`` compares new images with.

Of the manifest that the model was trained on, only what it learned from is scored: test and external images never
enter, and the model's own hash of its training data proves it. What is written are counts, no image and no name.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from tqdm import tqdm

from covidcxr.batch.reference import SHIPPED
from covidcxr.batch.run import Options, Watch, run
from covidcxr.batch.scoring import Done
from covidcxr.data.manifest import Record, read_manifest, write_table
from covidcxr.errors import CovidCxrError, ManifestError
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts


def training_images(records: list[Record], predictor: Predictor) -> list[Record]:
    """Return the records that a model learned from.

    Raises:
        ManifestError: The manifest is not the one that it was trained on.
    """
    parts = split_parts(records, parse_recipe(predictor.artifact.recipe, predictor.model))
    expected = predictor.artifact.data_hash
    if parts.training_hash != expected:
        raise ManifestError(
            f"Expected the manifest on which {predictor.model} was trained (data hash {expected}). "
            f"Received one that gives {parts.training_hash}."
        )
    return parts.train + parts.validation


def reference(manifest: Path, model: Path, watch: Watch) -> dict[str, Any]:
    """Score the training images of a model by the command that will score the new ones; return the reference.

    Raises:
        CovidCxrError: Another manifest, or an image that cannot be scored any more.
    """
    predictor = Predictor.load(model)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "training.csv")
        records = training_images(read_manifest(manifest), predictor)
        write_table(table, ["path"], [[record.path.resolve()] for record in records])
        summary = run(Options(sources=(str(table),), out=str(Path(folder, "out")), model=model), watch)
    if summary["errors"]:
        raise CovidCxrError(f"Expected training images that can be scored. Received {summary['errors']}.")
    return {
        "model": predictor.model,
        "data_hash": predictor.artifact.data_hash,
        "sources": [f"the training images of {predictor.artifact.name}"],
        "images": summary["images"],
        "histograms": summary["histograms"],
    }


def watched(plan: object, left: object, done: Iterator[Done]) -> Iterator[Done]:
    """Show that it goes on."""
    return iter(tqdm(done, desc="shards", disable=None))


def main() -> None:
    """Write the reference of a model."""
    with as_file(files("covidcxr") / "assets") as assets:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--manifest", type=Path, required=True, help="the one that the model was trained on")
        parser.add_argument("--model", type=Path, default=assets / "covidcxr.onnx")
        parser.add_argument("--out", type=Path, default=assets / SHIPPED)
        options = parser.parse_args()
        try:
            made = reference(options.manifest, options.model, watched)
        except CovidCxrError as error:
            sys.exit(str(error))
        options.out.write_text(json.dumps(made) + "\n", "utf-8")


if __name__ == "__main__":
    main()
