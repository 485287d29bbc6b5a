"""``covidcxr evaluate``."""

from pathlib import Path
from typing import Any

import click

from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra
from covidcxr.labels import Protocol

PATH = click.Path(path_type=Path)
MODEL = click.argument("model", type=PATH)
MANIFEST = click.option("--manifest", type=PATH, required=True, help="Made by 'covidcxr data build'.")
OUT = click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder of the report.")


@click.group("evaluate")
def command() -> None:
    """Evaluate a MODEL exported by 'covidcxr export': report.json, report.html, scores.csv and plots."""
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic")


@command.command("classic")
@MODEL
@MANIFEST
@OUT
def classic(model: Path, manifest: Path, out: Path) -> None:
    """Reproduce the published figures: the classic recipe on its own test split."""
    _evaluate(Protocol.CLASSIC, model, manifest, out)


@command.command("controls")
@MODEL
@MANIFEST
@OUT
def controls(model: Path, manifest: Path, out: Path) -> None:
    """Compare with an 8x8 thumbnail and the collection's name; test on healthy adults of another hospital."""
    _evaluate(Protocol.CONTROLS, model, manifest, out)


@command.command("unseen-hospitals")
@click.argument("recipe", metavar="RECIPE|FILE.toml")
@MANIFEST
@OUT
def unseen_hospitals(recipe: str, manifest: Path, out: Path) -> None:
    """Train a recipe once for every pair of origins, without them, and test it on the pair."""
    from covidcxr.data.manifest import read_manifest
    from covidcxr.evaluation.cross_source import leave_two_out, write_report

    with resumable():
        report = leave_two_out(read_manifest(manifest), recipe, out)
    write_report(report, out)
    _echo(report, out)


@command.command("external")
@MODEL
@MANIFEST
@OUT
@click.option(
    "--log",
    type=PATH,
    default=Path("external-log.csv"),
    show_default=True,
    help="File to which every evaluation on the external hospital is appended.",
)
def external(model: Path, manifest: Path, out: Path, log: Path) -> None:
    """Test a finished model on the external hospital, overall and by view; every run is logged."""
    from covidcxr.evaluation.protocols import log_external

    log_external(_evaluate(Protocol.EXTERNAL, model, manifest, out), log)


@command.command("held-out")
@MODEL
@MANIFEST
@OUT
def held_out(model: Path, manifest: Path, out: Path) -> None:
    """Test three classes on held-out patients of the training collections."""
    _evaluate(Protocol.HELD_OUT, model, manifest, out)


def _evaluate(protocol: Protocol, model: Path, manifest: Path, out: Path) -> dict[str, Any]:
    from covidcxr.data.manifest import read_manifest
    from covidcxr.evaluation.protocols import evaluate, write_report
    from covidcxr.prediction.predictor import Predictor

    report, scores = evaluate(protocol, Predictor.load(model), read_manifest(manifest))
    write_report(report, scores, out)
    _echo(report, out)
    return report


def _echo(report: dict[str, Any], out: Path) -> None:
    click.echo(report["title"])
    for row in report.get("pairs", []):
        click.echo(f"  {row['covid']} against {row['normal']}: AUROC {_text(row['auroc'])}")
    for name, e in report["metrics"].items():
        click.echo(f"  {name.replace('_', ' '):<32} {_text(e)}")
    click.echo(f"Report: {out / 'report.html'}")


def _text(e: dict[str, float]) -> str:
    return f"{e['value']:.3f}  ({e['low']:.3f} to {e['high']:.3f})"
