"""``covidcxr serve``: the page and the JSON interfaces on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import is_loopback

if TYPE_CHECKING:
    from covidcxr.web.http.guard import Guard

TOKEN_VARIABLE = "COVIDCXR_TOKEN"


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
    help="Processes for requests, each with another one for the model on its share of the cores.",
)
@click.option(
    "--threads",
    default=8,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Requests that each process handles at a time.",
)
@click.option(
    "--patience",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a request may take to arrive, and its answer to be taken, at 64 KiB/s on top of them.",
)
@click.option(
    "--drain",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to go on after SIGTERM, while /readyz already says no.",
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    help="Write a line for each request to stderr. [default: only what went wrong]",
)
@click.option("--log-addresses", is_flag=True, help="Name the clients' addresses in these lines.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with a token that every request must bring. [default: the variable {TOKEN_VARIABLE}, or none]",
)
@click.option("--rate-limit", help="Uploads from one client in each process, such as 60/minute. [default: any]")
@click.option(
    "--cors-origin", multiple=True, help="Origin whose pages may ask, such as https://example.org; repeat it."
)
@click.option(
    "--proxies",
    default=0,
    show_default=True,
    type=click.IntRange(0, 9),
    help="Proxies in front, whose X-Forwarded headers are believed.",
)
def command(
    *,
    host: str,
    port: int,
    model: Path | None,
    workers: int,
    threads: int,
    patience: float,
    drain: float,
    log_format: str | None,
    log_addresses: bool,
    token_file: Path | None,
    rate_limit: str | None,
    cors_origin: tuple[str, ...],
    proxies: int,
) -> None:
    """Serve the page and the JSON interfaces until Ctrl-C or SIGTERM. Nothing uploaded is stored."""
    from covidcxr.errors import require_extra

    require_extra("web", "flask", "gunicorn")
    from covidcxr.web.engine_process import launch

    token = _token(token_file)
    guard = _guard(token=token, rate_limit=rate_limit, origins=cors_origin, proxies=proxies)
    channels = launch(model, workers=workers)  # now: the model loads while gunicorn and Flask are imported
    from covidcxr.web.http.logs import LogFormat
    from covidcxr.web.server import Settings, serve

    def ready(address: str, model_name: str) -> None:
        click.echo(f"Open {address} in a browser. Model: {model_name}. Ctrl-C stops the server.")
        if not is_loopback(host):
            click.echo(f"Other machines can reach it, with {'a token' if token else 'no password'} and no encryption.")
        click.echo(DISCLAIMER)

    settings = Settings(
        host=host,
        port=port,
        model=model,
        workers=workers,
        threads=threads,
        patience=patience,
        drain=drain,
        log_format=LogFormat(log_format) if log_format else None,
        log_addresses=log_addresses,
        guard=guard,
    )
    serve(settings, channels, ready)


def _token(path: Path | None) -> str | None:
    if path is not None:
        return path.read_text().strip()
    return os.environ.get(TOKEN_VARIABLE) or None


def _guard(*, token: str | None, rate_limit: str | None, origins: tuple[str, ...], proxies: int) -> "Guard | None":
    """Check what a request must bring, before any process starts; None if it is nothing."""
    if not (token is not None or rate_limit or origins or proxies):
        return None  # as most often: Flask is then imported by the workers
    from covidcxr.web.http.guard import Guard

    try:
        return Guard(token=token, rate_limit=rate_limit, origins=origins, proxies=proxies)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
