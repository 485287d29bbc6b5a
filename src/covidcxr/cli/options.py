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
    metavar="MODEL.onnx",
    help="Model file. [default: the model in the package]",
)
"""``model``: a path, or None; covidcxr.prediction.predictor.Predictor.load takes both."""
manifest_option = click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.csv",
    help="Manifest written by 'covidcxr data build'.",
)


def is_loopback(host: str) -> bool:
    """Return whether an address, numeric or ``localhost``, is reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


@contextmanager
def resumable() -> Iterator[None]:
    """Tell after Ctrl-C how to continue, and exit with the status of an interrupted command."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted. Run the same command again to continue.", err=True)
        sys.exit(130)  # 128 + SIGINT, the convention of shells
