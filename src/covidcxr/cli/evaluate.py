"""``covidcxr evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra

if TYPE_CHECKING:
    from covidcxr.data.manifest import Record


@click.command("evaluate")
@click.option(
    "--protocol", type=click.Choice(["P1", "P2", "P3", "P4", "P5"]), required=True, help="docs/evaluation.md."
)
@click.option("--model", type=click.Path(path_type=Path), help="Exported by 'covidcxr export'; all but P3.")
@click.option("--recipe", metavar="NAME|FILE.toml", help="P3 only: the recipe to train once for every pair of sources.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report.")
@click.option(
    "--looks",
    type=click.Path(path_type=Path),
    default=Path("external-looks.csv"),
    show_default=True,
    help="P4 only: log to which every look at the external set is appended.",
)
def command(protocol: str, model: Path | None, recipe: str | None, manifest: Path, out: Path, looks: Path) -> None:
    """Evaluate an exported model (P3: a recipe): report.json, report.html, scores.csv and plots."""
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic")
    from covidcxr.data.manifest import read_manifest

    if (protocol == "P3") != (recipe is not None) or (protocol == "P3") != (model is None):
        raise click.UsageError("Expected --recipe for P3, --model for every other protocol.")
    records = read_manifest(manifest)
    report = _leave_two_out(records, str(recipe), out) if protocol == "P3" else _evaluate(protocol, model, records, out)
    if protocol == "P4":
        from covidcxr.evaluation.protocols import note_look

        note_look(report, looks)
    click.echo(report["title"])
    for row in report.get("pairs", []):
        click.echo(f"  {row['covid']} against {row['normal']}: AUROC {_text(row['auroc'])}")
    for name, e in report["metrics"].items():
        click.echo(f"  {name.replace('_', ' '):<32} {_text(e)}")
    click.echo(f"Report: {out / 'report.html'}")


def _evaluate(protocol: str, model: Path | None, records: "list[Record]", out: Path) -> dict[str, Any]:
    from covidcxr.evaluation.protocols import evaluate, write_report
    from covidcxr.prediction.predictor import Predictor

    assert model is not None
    report, scores = evaluate(protocol, Predictor.load(model), records)
    write_report(report, scores, out)
    return report


def _leave_two_out(records: "list[Record]", recipe: str, out: Path) -> dict[str, Any]:
    from covidcxr.evaluation.cross_source import leave_two_out, write_report

    with resumable():
        report = leave_two_out(records, recipe, out)
    write_report(report, out)
    return report


def _text(e: dict[str, float]) -> str:
    return f"{e['value']:.3f}  ({e['low']:.3f} to {e['high']:.3f})"
