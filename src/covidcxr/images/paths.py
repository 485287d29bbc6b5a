"""What a user names on the command line, files, folders and patterns, to a list of files."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covidcxr.images.decode import SUFFIXES, is_dicom

HEAD = 132
"""Bytes at the start of a file that tell a DICOM object: DICOM PS3.10 section 7.1."""
DIRECTORY_FILE = "DICOMDIR"
"""The table of contents of a DICOM medium (PS3.10 section 8.6): a DICOM object, no image."""

_NO_SUFFIX = re.compile(r"[^.]*|[\d.]+")  # no dot, or a DICOM UID as name


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file to score, or one name that led to none.

    Attributes:
        path: The file, as the user's argument reaches it; with an error, the argument itself.
        error: Why there is no file to score; None where there is one.
    """

    path: str
    error: str | None = None


def expand(arguments: Iterable[str], *, archives: tuple[str, ...] = ()) -> list[Input]:
    """Find the files that arguments mean.

    - A file is taken whatever its name is, also one that is missing: reading it will tell.
    - A folder gives the images below it: names with one of covidcxr.images.decode.SUFFIXES, and DICOM objects without a
      suffix, told by their content. Hidden files and folders (a dot first), links to folders, pipes and devices are
      left out.
    - A pattern (``*``, ``?``, ``[...]``, ``**`` for folders below) gives what it matches, files and folders as above.

    Args:
        arguments: Paths as typed.
        archives: Lowercase suffixes of further files that a folder gives, whatever they hold.

    Returns:
        Sorted by path; no file twice, however many arguments, names or links lead to it.
    """
    found = [item for argument in arguments for item in _expand(argument, archives)]
    unique: dict[str, Input] = {}
    for item in sorted(found, key=lambda item: item.path):
        unique.setdefault(item.path if item.error else os.path.realpath(item.path), item)
    return list(unique.values())


def _expand(argument: str, archives: tuple[str, ...]) -> Iterator[Input]:
    if os.path.lexists(argument) or not glob.has_magic(argument):
        yield from _expand_path(argument, archives)
        return
    matches = glob.glob(argument, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    if not matches:
        yield Input(path=argument, error=f"Expected files that match the pattern. Received none for {argument}.")
    for match in matches:
        yield from _expand_path(match, archives)


def _expand_path(path: str, archives: tuple[str, ...]) -> Iterator[Input]:
    if not Path(path).is_dir():
        yield Input(path=path)
        return
    empty = True
    for item in _walk(path, archives):
        empty = False
        yield item
    if empty:
        yield Input(path=path, error=f"Expected a folder with images. Received {path} without any.")


def _walk(folder: str, archives: tuple[str, ...]) -> Iterator[Input]:
    refused: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - a Path would drop the leading "./" that the user typed
            if name.startswith(".") or _waits(path):
                continue
            if name.lower().endswith(archives) or _is_image(Path(path)):
                yield Input(path=path)
    for error in refused:
        yield Input(
            path=error.filename, error=f"Expected a readable folder. Received {error.filename}: {error.strerror}."
        )


def _waits(path: str) -> bool:
    """Tell whether reading it would wait for somebody to write: a pipe, a socket, a device."""
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113 - these raise nothing


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    if not _NO_SUFFIX.fullmatch(path.name) or path.name == DIRECTORY_FILE or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return True  # reading it will tell why not
