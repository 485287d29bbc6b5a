"""``covidcxr lungs``: train the networks that find the lungs."""

import os
from pathlib import Path

import click

from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra


@click.group("lungs")
def command() -> None:
    """Train the networks that find the lungs on radiographs."""


@command.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Folder of the collections and masks.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run folder.")
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="Passes over the images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the held-out hospitals and of training.")
def train(root: Path, out: Path, epochs: int, seed: int) -> None:
    """Train and test the lung networks.

    RUN gets lungs.onnx, report.json with Dice coefficients in held-out hospitals, examples.png and, in the folder
    cells, the weights of the lung finder inside the classifier. A stopped run resumes at its last complete epoch when
    the same command is given again.
    """
    require_extra("train", "tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "scipy", "pandas", "matplotlib")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's log at start would break the progress bar
    from covidcxr._system import keep_freed_memory

    keep_freed_memory()
    from covidcxr.training.lungs.fit import MODEL, LungSettings, train_lungs

    with resumable():
        report = train_lungs(root, out, LungSettings(epochs=epochs, seed=seed))
    dice, test = report["dice"], report["test"]
    cells = report["cells"]["dice"]
    click.echo(f"Dice {dice['value']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})")
    click.echo(f"Dice in cells {cells['value']:.3f} ({cells['low']:.3f} to {cells['high']:.3f})")
    click.echo(f"on {test['n']} images of {test['patients']} patients from {test['hospitals']} held-out hospitals")
    click.echo(f"Lung network: {out / MODEL}")
