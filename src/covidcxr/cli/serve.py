"""``covidcxr serve``: the page and the APIs on this machine."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import is_loopback, model_option

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
@model_option
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Number of processes. Each loads the model and uses its share of the cores.",
)
@click.option(
    "--threads",
    default=8,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Requests that each process handles at the same time.",
)
@click.option(
    "--timeout",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for a request to arrive and for its answer to be read, plus one for every 64 KiB.",
)
@click.option(
    "--drain",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to keep serving after SIGTERM while /readyz fails.",
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    help="Write a line for each request to stderr. [default: failures only]",
)
@click.option("--log-addresses", is_flag=True, help="Include the clients' addresses in these lines.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with a token that every request must carry. [default: the variable {TOKEN_VARIABLE}, or none]",
)
@click.option(
    "--rate-limit", help="Limit of uploads from one client to each process, such as 60/minute. [default: none]"
)
@click.option(
    "--cors-origin",
    multiple=True,
    help="Origin whose pages may send requests, such as https://example.org. Repeatable.",
)
@click.option(
    "--proxies",
    default=0,
    show_default=True,
    type=click.IntRange(0, 9),
    help="Number of proxies in front whose X-Forwarded headers are trusted.",
)
def command(
    *,
    host: str,
    port: int,
    model: Path | None,
    workers: int,
    threads: int,
    timeout: float,
    drain: float,
    log_format: str | None,
    log_addresses: bool,
    token_file: Path | None,
    rate_limit: str | None,
    cors_origin: tuple[str, ...],
    proxies: int,
) -> None:
    """Serve the page and the APIs until Ctrl-C or SIGTERM. Nothing uploaded is stored."""
    from covidcxr.errors import require_extra

    if sys.platform == "win32":
        raise click.ClickException("covidcxr serve does not run on Windows. Run it in WSL or in a container.")
    require_extra("web", "flask", "gunicorn")
    token = _token(token_file)
    guard = _guard(token=token, rate_limit=rate_limit, origins=cors_origin, proxies=proxies)
    from covidcxr.web.http.logs import LogFormat
    from covidcxr.web.server import ServerSettings, serve

    def ready(address: str, model_name: str) -> None:
        click.echo(f"Open {address} in a browser. Model: {model_name}. Ctrl-C stops the server.")
        if not is_loopback(host):
            access = "with a token" if token else "without a password"
            click.echo(f"Other machines can reach it {access} and without encryption.")
        click.echo(DISCLAIMER)

    settings = ServerSettings(
        host=host,
        port=port,
        model=model,
        workers=workers,
        threads=threads,
        timeout=timeout,
        drain=drain,
        log_format=LogFormat(log_format) if log_format else None,
        log_addresses=log_addresses,
        guard=guard,
    )
    serve(settings, ready)


def _token(path: Path | None) -> str | None:
    if path is not None:
        return path.read_text().strip()
    return os.environ.get(TOKEN_VARIABLE) or None


def _guard(*, token: str | None, rate_limit: str | None, origins: tuple[str, ...], proxies: int) -> "Guard | None":
    """Create the guard, so that a wrong option ends the command before anything starts; None if none is needed."""
    if not (token is not None or rate_limit or origins or proxies):
        return None  # the usual case: Flask is then imported by the workers
    from covidcxr.web.http.guard import Guard

    try:
        return Guard(token=token, rate_limit=rate_limit, origins=origins, proxies=proxies)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
