"""``covidcxr card``."""

from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("card")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--reports",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder with the report.json of each protocol, named classic.json, controls.json and so on.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.md", help="The file to write.")
def command(model: Path, reports: Path, out: Path) -> None:
    """Write the model card of a MODEL exported by 'covidcxr export', from the file and its reports."""
    require_extra("train", "jinja2", "matplotlib", "pydantic", "scipy", "sklearn")
    from covidcxr.evaluation.card import read_reports, render_card
    from covidcxr.labels import Protocol
    from covidcxr.prediction.predictor import Predictor

    predictor, found = Predictor.load(model), read_reports(reports)
    out.write_text(render_card(predictor.artifact, predictor.model, found), "utf-8")
    missing = ", ".join(protocol for protocol in Protocol if protocol not in found)
    click.echo(f"Model card of {predictor.model}: {out}" + (f" (not measured: {missing})" if missing else ""))
