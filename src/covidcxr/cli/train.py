"""``covidcxr train``."""

import os
from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("train")
@click.option("--recipe", "recipe", required=True, metavar="NAME|FILE.toml", help="classic, default, or a TOML file.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run folder.")
def command(recipe: str, manifest: Path, out: Path) -> None:
    """Train a recipe. Stopped? The same command goes on with the last full epoch."""
    require_extra("train", "tensorflow", "keras", "pydantic", "sklearn", "pandas", "matplotlib")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes would tear the progress bar
    from covidcxr.memory import keep_freed_memory

    keep_freed_memory()
    from covidcxr.manifest import read_manifest
    from covidcxr.recipe import recipe_text
    from covidcxr.training import train

    train(read_manifest(manifest), recipe_text(recipe), out)
    click.echo(f"Trained: {out}. Next: covidcxr export {out} --out MODEL.onnx")
