"""``covidcxr evaluate``."""

from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("evaluate")
@click.option("--protocol", type=click.Choice(["P1", "P2", "P5"]), required=True, help="See docs/evaluation.md.")
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Exported by 'covidcxr export'.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report.")
def command(protocol: str, model: Path, manifest: Path, out: Path) -> None:
    """Evaluate an exported model: report.json, report.html, scores.csv and plots."""
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic")
    from covidcxr.evaluation import evaluate, write_report
    from covidcxr.manifest import read_manifest
    from covidcxr.predictor import Predictor

    report, scores = evaluate(protocol, Predictor.load(model), read_manifest(manifest))
    write_report(report, scores, out)
    click.echo(f"{report['title']}: {report['data']['n']} images of {report['data']['patients']} patients")
    for name, e in report["metrics"].items():
        click.echo(f"  {name.replace('_', ' '):<32} {e['value']:.3f}  ({e['low']:.3f} to {e['high']:.3f})")
    click.echo(f"Report: {out / 'report.html'}")
