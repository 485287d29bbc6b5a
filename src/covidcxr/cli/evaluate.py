"""``covidcxr evaluate``."""

import os
from pathlib import Path
from typing import Any

import click

from covidcxr._estimates import Estimate
from covidcxr.cli.options import manifest_option, resumable
from covidcxr.errors import require_extra
from covidcxr.labels import Protocol

model_argument = click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report."
)


@click.group("evaluate")
def command() -> None:
    """Evaluate a MODEL or a RECIPE by one of the protocols of docs/evaluation.md.

    Writes report.json, report.html, scores.csv and plots.
    """
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic")


@command.command("classic")
@model_argument
@manifest_option
@out_option
def classic(model: Path, manifest: Path, out: Path) -> None:
    """Reproduce the published figures: the classic recipe on its own test split."""
    _evaluate(Protocol.CLASSIC, model, manifest, out)


@command.command("controls")
@model_argument
@manifest_option
@out_option
def controls(model: Path, manifest: Path, out: Path) -> None:
    """Compare with an 8x8 thumbnail and the collection's name; test on healthy adults of another hospital."""
    _evaluate(Protocol.CONTROLS, model, manifest, out)


@command.command("unseen-hospitals")
@click.argument("recipe")
@manifest_option
@out_option
def unseen_hospitals(recipe: str, manifest: Path, out: Path) -> None:
    """Train a RECIPE once for every pair of origins, without them, and test it on the pair.

    RECIPE is a name such as default, or a TOML file. The same command continues an interrupted evaluation.
    """
    require_extra("train", "tensorflow", "keras", "pandas", "tf2onnx", "onnx")
    from covidcxr.data.manifest import read_manifest
    from covidcxr.evaluation.cross_source import leave_two_out
    from covidcxr.evaluation.report import write_report

    with resumable():
        report = leave_two_out(read_manifest(manifest), recipe, out, train_and_export)
    write_report(report, out)
    _echo(report, out)


def train_and_export(recipe: str, manifest: Path, run: Path, model: Path, cache: Path) -> None:
    """Train a recipe (TOML) on a manifest and export it, as ``covidcxr train`` and ``covidcxr export`` do."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages break the progress bar
    from covidcxr._system import keep_freed_memory

    keep_freed_memory()
    from covidcxr.data.manifest import read_manifest
    from covidcxr.training.export import export
    from covidcxr.training.fit import train

    train(read_manifest(manifest), recipe, run, cache=cache)
    export(run, model)


@command.command("external")
@model_argument
@manifest_option
@out_option
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("external-log.csv"),
    show_default=True,
    help="File to which every evaluation on the external hospital is appended.",
)
def external(model: Path, manifest: Path, out: Path, log: Path) -> None:
    """Test a finished model on the external hospital, overall and by view; every run is logged."""
    from covidcxr.evaluation.protocols import log_external

    log_external(_evaluate(Protocol.EXTERNAL, model, manifest, out), log)


@command.command("held-out")
@model_argument
@manifest_option
@out_option
def held_out(model: Path, manifest: Path, out: Path) -> None:
    """Test three classes on held-out patients of the training collections."""
    _evaluate(Protocol.HELD_OUT, model, manifest, out)


def _evaluate(protocol: Protocol, model: Path, manifest: Path, out: Path) -> dict[str, Any]:
    from covidcxr.data.manifest import read_manifest
    from covidcxr.evaluation.protocols import evaluate
    from covidcxr.evaluation.report import write_report
    from covidcxr.prediction.predictor import Predictor

    report, scores = evaluate(protocol, Predictor.load(model), read_manifest(manifest))
    write_report(report, out, scores)
    _echo(report, out)
    return report


def _echo(report: dict[str, Any], out: Path) -> None:
    click.echo(report["title"])
    for row in report.get("pairs", []):
        click.echo(f"  {row['covid']} against {row['normal']}: AUROC {Estimate.of(row['auroc'])}")
    for name, found in report["metrics"].items():
        click.echo(f"  {name.replace('_', ' '):<36} {Estimate.of(found)}")
    click.echo(f"Report: {out / 'report.html'}")
