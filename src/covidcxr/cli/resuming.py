"""Ctrl-C of a command that goes on where it was stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def resumable() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost, and end with the status of an interrupted command."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on.", err=True)
        sys.exit(130)  # 128 + SIGINT, as shells say it
