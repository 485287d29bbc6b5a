"""What the Dockerfile says, for files that must say the same; whether it works is tested by building it."""

import json
import re
from dataclasses import dataclass

from support.environment import ROOT


@dataclass(frozen=True)
class Healthcheck:
    """How an engine finds out whether the server is healthy.

    Attributes:
        options: As written, without the dashes in front.
        words: Command.
    """

    options: dict[str, str]
    words: list[str]


def instruction(name, file=ROOT / "Dockerfile"):
    """Return the last instruction of a name, its lines joined."""
    text = file.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.*)$", text, re.MULTILINE)[-1]


def words(name, file=ROOT / "Dockerfile"):
    """Return the last instruction of a name as the list of words that it is."""
    return json.loads(instruction(name, file))


def port(file=ROOT / "Dockerfile"):
    """Return the port that the image exposes."""
    return int(instruction("EXPOSE", file))


def healthcheck():
    """Return the check of the image's health."""
    options, _, command = instruction("HEALTHCHECK").partition("CMD")
    return Healthcheck(dict(re.findall(r"--([\w-]+)=(\S+)", options)), json.loads(command))
