"""``covidcxr train``."""

import os
from pathlib import Path

import click

from covidcxr.cli.options import manifest_option, resumable
from covidcxr.errors import require_extra


@click.command("train")
@click.argument("recipe", metavar="RECIPE")
@manifest_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run folder.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep decoded images for other runs.")
@click.option("--mixed-precision", is_flag=True, help="Compute in float16 below the head; for GPUs.")
def command(recipe: str, manifest: Path, out: Path, cache: Path | None, mixed_precision: bool) -> None:
    """Train RECIPE: classic, default, finetuned or a TOML file.

    A stopped run resumes at its last complete epoch when the same command is given again.
    """
    require_extra("train", "tensorflow", "keras", "pydantic", "sklearn", "pandas", "matplotlib")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's log at start would break the progress bar
    from covidcxr._system import keep_freed_memory

    keep_freed_memory()
    from covidcxr.data.manifest import read_manifest
    from covidcxr.recipes.recipe import parse_recipe, recipe_text
    from covidcxr.training.fit import train

    text = recipe_text(recipe)
    parse_recipe(text, recipe)  # here, because only this command knows the file name that an error should show
    with resumable():
        train(read_manifest(manifest), text, out, mixed_precision=mixed_precision, cache=cache)
    click.echo(f"Trained: {out}. Next: covidcxr export {out} --out MODEL.onnx")
