"""Options and behaviour that several commands share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import click

model_option = click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model file. [default: the model in the package]",
)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address, as numbers or as a name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


@contextmanager
def resumable() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost, and end with the status of an interrupted command."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on.", err=True)
        sys.exit(130)  # 128 + SIGINT, as shells say it
