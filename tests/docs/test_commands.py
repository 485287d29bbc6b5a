import re
import shlex
from pathlib import Path

import click
import pytest

from covidcxr.cli import cli

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^(?:\S*/|[A-Z_]+=\S* )*covidcxr ((?:[a-z]|--).*)", re.MULTILINE)


def lines():
    """Return each command line of the pages: where it is and its words."""
    pages = [ROOT / "README.md", ROOT / "research" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        pytest.param(words.split("  #")[0].strip(), id=f"{page.name}: {words}")
        for page in pages
        if page.name != "commands.md"
        for words in COMMAND.findall("".join(code(page.read_text("utf-8"))))
    ]


def code(text):
    """Yield the code of a page: inline, indented or fenced. A backslash joins lines."""
    text = re.sub(r"\\\n *", "", text)
    for found in re.finditer(r"`([^`\n]+)`|^ {4,}(\S[^\n]*)|^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield (found[1] or found[2] or found[3]) + "\n"


def unknown(words):
    """Return the words of a command line that its command does not have, or None."""
    command, left = cli, shlex.split(words, posix=False)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        found = command.get_command(click.Context(command), left[0])
        if found is None:
            break
        command, left = found, left[1:]
    if isinstance(command, click.Group) and left and not command.params and not left[0].startswith("-"):
        return left[0]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    options = {word.split("=")[0] for word in left if re.match(r"--\w", word)}
    return ", ".join(sorted(options - known - {"--help", "--version"})) or None


@pytest.mark.parametrize("words", lines())
def test_a_command_line_in_the_docs_exists(words):
    assert unknown(words) is None


def test_a_wrong_command_line_would_be_noticed():
    assert len(lines()) > 50
    assert unknown("evaluate p1 model.onnx") == "p1"
    assert unknown("train default --no-such --out run") == "--no-such"
    assert unknown("predict chest.png --json") is None
