"""``covidcxr gate``: train and evaluate the gate that tells which images a model answers for."""

import os
from pathlib import Path

import click

from covidcxr.errors import require_extra

MANIFEST = click.option(
    "--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'."
)


@click.group("gate")
def command() -> None:
    """Decline what is no frontal chest X-ray of an adult: train and measure the gate that does."""


@command.command()
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Finished run of 'covidcxr train'.")
@MANIFEST
def train(run: Path, manifest: Path) -> None:
    """Train the gate of a RUN: gate.npz, which 'covidcxr export' puts into the model file, and gate.json."""
    require_extra("train", "tensorflow", "keras", "sklearn", "scipy", "pydantic")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes would tear the progress bar
    from covidcxr.training.gate.features import GATE_FILE, train_gate

    report = train_gate(run, manifest)
    for origin, row in report["unseen_origins"].items():
        click.echo(
            f"Adults of {origin}, had it been unseen: {row['declined']} of {row['n']} declined, "
            f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        )
    click.echo(f"Gate: {run / GATE_FILE}. Next: covidcxr export {run} --out MODEL.onnx")


@command.command()
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Exported by 'covidcxr export'.")
@MANIFEST
@click.option("--run", type=click.Path(path_type=Path), help="Run of the model: adds its rates on unseen collections.")
@click.option("--pictures", type=click.Path(path_type=Path), metavar="DIR", help="Photographs, documents: no X-rays.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of gate.json.")
def evaluate(model: Path, manifest: Path, run: Path | None, pictures: Path | None, out: Path) -> None:
    """Measure what the gate of a model file declines, on pictures that it was not trained on."""
    require_extra("train", "tensorflow", "keras", "sklearn", "scipy", "pydantic")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.training.gate.evaluation import evaluate_gate, write_report

    report = evaluate_gate(Predictor.load(model), manifest, run=run, pictures=pictures)
    for name, row in report["declined"].items():
        click.echo(f"  {name:<40} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) of {row['n']}")
    click.echo(f"Report: {write_report(report, out)}")
