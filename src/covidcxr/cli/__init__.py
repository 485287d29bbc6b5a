"""The ``covidcxr`` command. Subcommands are imported on demand, so that ``predict`` starts fast."""

import sys
from importlib import import_module

import click

from covidcxr import DISCLAIMER, __version__
from covidcxr.errors import CovidCxrError

COMMANDS = {
    "data": "covidcxr.cli.data",
    "train": "covidcxr.cli.train",
    "export": "covidcxr.cli.export",
    "lungs": "covidcxr.cli.lungs",
    "gate": "covidcxr.cli.gate",
    "evaluate": "covidcxr.cli.evaluate",
    "audit": "covidcxr.cli.audit",
    "card": "covidcxr.cli.card",
    "predict": "covidcxr.cli.predict",
    "batch": "covidcxr.cli.batch",
    "serve": "covidcxr.cli.serve",
    "dicom": "covidcxr.cli.dicom",
    "web": "covidcxr.cli.web",
}
"""Module of each subcommand; its ``command`` is the click command."""


class LazyGroup(click.Group):
    """A command group that imports its subcommands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, help=f"COVID-19 on frontal chest X-rays. {DISCLAIMER}")
@click.version_option(__version__, prog_name="covidcxr")
def cli() -> None:
    """Group the subcommands."""


def main() -> None:
    """Run the command line; print errors meant for the user without a traceback and exit with status 1."""
    try:
        cli(prog_name="covidcxr")
    except CovidCxrError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
