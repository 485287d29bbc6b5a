"""Parts of the site that are generated: notebooks and the command line page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jupytext

from covidcxr.cli import cli

COMMANDS = """# Command line

The output of `--help` for every command.

"""
FOLDER_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")


def notebooks(source: Path, out: Path) -> list[Path]:
    """Convert the notebooks, which are Python scripts with cells, to Jupyter files for Sphinx.

    Args:
        source: Folder of the scripts; notebooks are those whose name starts with a digit.
        out: Folder for the Jupyter files; emptied first.

    Returns:
        The files, sorted by name.
    """
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    written = []
    for script in sorted(source.glob("[0-9]*.py")):
        notebook = jupytext.read(script)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        written.append(out / f"{script.stem}.ipynb")
        jupytext.write(notebook, written[-1])
    return written


def commands(out: Path) -> None:
    """Write a page with the help of every command, each under a heading."""
    out.write_text(COMMANDS + "\n".join(_help(cli, click.Context(cli, info_name="covidcxr"))), "utf-8")


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _help(found, click.Context(found, parent=context, info_name=name))
    else:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


def without_folder_links(app: Any, _: str, source: list[str]) -> None:  # noqa: ANN401 - of Sphinx
    """Turn links to folders of the repository, which the site cannot show, into plain text.

    Args:
        app: Application of Sphinx.
        source: Text of the page, changed in place.
    """

    def plain(link: re.Match[str]) -> str:
        return link[1] if (Path(app.srcdir) / link[2]).is_dir() else link[0]

    source[0] = FOLDER_LINK.sub(plain, source[0])
