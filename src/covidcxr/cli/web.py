"""``covidcxr web``: the page for hosts that run no program."""

from pathlib import Path

import click

from covidcxr.cli.options import model_option
from covidcxr.errors import require_extra


@click.group("web")
def command() -> None:
    """Export the page as files."""


@command.command("export-static")
@click.argument("out", type=click.Path(path_type=Path), metavar="DIR")
@model_option
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder dist of the npm package onnxruntime-web. [default: downloaded by npm]",
)
def export(out: Path, model: Path | None, runtime: Path | None) -> None:
    """Write the page into DIR for any web host. The model runs in the visitor's browser; no image leaves it."""
    require_extra("web", "flask")
    from covidcxr.web.static_site import export_static

    name = export_static(model, out, runtime)
    click.echo(f"Page with {name}: {out}. To view it: python -m http.server --directory {out}")
