"""``covidcxr web``: the page for hosts that run no program."""

from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.group("web")
def command() -> None:
    """Write the page as files."""


@command.command("export-static")
@click.argument("out", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--model", type=click.Path(path_type=Path), help="Model file; without, the one of the package.")
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder dist of the npm package onnxruntime-web; without, npm fetches it.",
)
def export(out: Path, model: Path | None, runtime: Path | None) -> None:
    """Write the page into DIR for any web host: the model runs in the visitor's browser, no image leaves it."""
    require_extra("web", "flask")
    from covidcxr.web.static_site import export_static

    name = export_static(model, out, runtime)
    click.echo(f"Page with {name}: {out}. To look at it: python -m http.server --directory {out}")
