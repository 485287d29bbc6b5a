"""``covidcxr gate``: train and measure the check that rejects everything but frontal chest X-rays of adults."""

import os
from pathlib import Path

import click

from covidcxr.cli.options import manifest_option
from covidcxr.errors import require_extra


@click.group("gate")
def command() -> None:
    """Train and measure the check that rejects everything but frontal chest X-rays of adults."""


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@manifest_option
def train(run: Path, manifest: Path) -> None:
    """Train the gate of RUN, a finished run of 'covidcxr train'.

    Writes gate.npz, which 'covidcxr export' puts into the model file, and gate.json.
    """
    require_extra("train", "tensorflow", "keras", "sklearn", "scipy", "pydantic")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's log at start would break the progress bar
    from covidcxr.training.gate.features import GATE_FILE, train_gate

    report = train_gate(run, manifest)
    for origin, row in report["unseen_origins"].items():
        click.echo(
            f"Adults of {origin} declined by a gate trained without them: {row['declined']} of {row['n']}, "
            f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        )
    click.echo(f"Gate: {run / GATE_FILE}. Next: covidcxr export {run} --out MODEL.onnx")


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@manifest_option
@click.option("--run", type=click.Path(path_type=Path), help="Run of the model; adds its rates on unseen collections.")
@click.option("--pictures", type=click.Path(path_type=Path), metavar="DIR", help="Images other than X-rays.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for gate.json.")
def evaluate(model: Path, manifest: Path, run: Path | None, pictures: Path | None, out: Path) -> None:
    """Measure what the gate of MODEL declines among images it was not trained on."""
    require_extra("train", "tensorflow", "keras", "sklearn", "scipy", "pydantic")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.training.gate.evaluation import evaluate_gate, write_report

    report = evaluate_gate(Predictor.load(model), manifest, run=run, pictures=pictures)
    for name, row in report["declined"].items():
        click.echo(f"  {name:<40} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) of {row['n']}")
    click.echo(f"Report: {write_report(report, out)}")
