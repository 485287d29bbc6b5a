"""``covidcxr train``."""

import os
from pathlib import Path

import click

from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra


@click.command("train")
@click.option("--recipe", required=True, metavar="NAME|FILE.toml", help="classic, default, finetuned, or a TOML file.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run folder.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep decoded images for other runs.")
@click.option("--mixed-precision", is_flag=True, help="Compute in float16 below the head; for GPUs.")
@click.option(
    "--devices", type=click.Choice(["one", "all"]), default="one", show_default=True, help="GPUs that share a batch."
)
def command(recipe: str, manifest: Path, out: Path, cache: Path | None, mixed_precision: bool, devices: str) -> None:
    """Train a recipe. Stopped? The same command goes on with the last full epoch."""
    require_extra("train", "tensorflow", "keras", "pydantic", "sklearn", "pandas", "matplotlib")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes would tear the progress bar
    from covidcxr._system import keep_freed_memory

    keep_freed_memory()
    from covidcxr.data.manifest import read_manifest
    from covidcxr.recipes.recipe import parse_recipe, recipe_text
    from covidcxr.training.devices import Devices, Machine
    from covidcxr.training.fit import train

    text = recipe_text(recipe)
    parse_recipe(text, recipe)  # what is wrong with it is told by the name of its file, which only this command knows
    machine = Machine(mixed_precision=mixed_precision, devices=Devices(devices))
    with resumable():
        train(read_manifest(manifest), text, out, machine=machine, cache=cache)
    click.echo(f"Trained: {out}. Next: covidcxr export {out} --out MODEL.onnx")
