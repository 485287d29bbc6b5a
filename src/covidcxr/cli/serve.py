"""``covidcxr serve``: the page and the JSON interface on this machine."""

from pathlib import Path

import click

from covidcxr import DISCLAIMER

LOOPBACK = ("127.", "localhost", "::1")
"""How the addresses begin that only this machine reaches."""


@click.command(name="serve", epilog=DISCLAIMER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 for a free one.",
)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model file. [default: the one that comes with the package]",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes; each loads the model and takes its share of the cores.",
)
@click.option(
    "--threads",
    default=8,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Requests that each process handles at a time.",
)
def command(host: str, port: int, model: Path | None, workers: int, threads: int) -> None:
    """Serve the page and the JSON interface until Ctrl-C or SIGTERM. Nothing uploaded is stored."""
    from covidcxr.errors import require_extra

    require_extra("web", "flask", "gunicorn")
    from covidcxr.web.server import Settings, serve

    def ready(address: str, model_name: str) -> None:
        click.echo(f"Open {address} in a browser. Model: {model_name}. Ctrl-C stops the server.")
        if not host.startswith(LOOPBACK):
            click.echo("Other machines can reach it, with no password and no encryption.")
        click.echo(DISCLAIMER)

    serve(Settings(host=host, port=port, model=model, workers=workers, threads=threads), ready)
