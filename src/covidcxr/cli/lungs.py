"""``covidcxr lungs``: train the networks that find the lungs."""

import os
from pathlib import Path

import click

from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra


@click.group("lungs")
def command() -> None:
    """Find the lungs on radiographs: train the networks that do."""


@command.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Collections as published, and the masks.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run folder.")
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="Passes over the images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the hospitals held out, and of the training.")
def train(root: Path, out: Path, epochs: int, seed: int) -> None:
    """Train and test the lung networks. Stopped? The same command goes on with the last full epoch.

    RUN gets lungs.onnx, report.json with Dice coefficients in hospitals held out, examples.png and, in the folder
    cells, the weights of what finds the lungs inside the classifier.
    """
    require_extra("train", "tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "scipy", "pandas", "matplotlib")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes would tear the progress bar
    from covidcxr._system import keep_freed_memory

    keep_freed_memory()
    from covidcxr.training.lungs.fit import MODEL, Settings
    from covidcxr.training.lungs.fit import train as train_lungs

    with resumable():
        report = train_lungs(root, out, Settings(epochs=epochs, seed=seed))
    dice, test = report["dice"], report["test"]
    cells = report["cells"]["dice"]
    click.echo(f"Dice {dice['value']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})")
    click.echo(f"in cells {cells['value']:.3f} ({cells['low']:.3f} to {cells['high']:.3f})")
    click.echo(f"on {test['n']} images of {test['patients']} patients of {test['hospitals']} hospitals held out")
    click.echo(f"Lung network: {out / MODEL}")
