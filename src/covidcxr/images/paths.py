"""Expand files, folders and patterns into a list of image files."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covidcxr.images.decode import SUFFIXES, is_dicom

HEAD = 132
"""Bytes at the start of a file that show whether it is a DICOM object: DICOM PS3.10 section 7.1."""
DIRECTORY_FILE = "DICOMDIR"
"""The table of contents of a DICOM medium (PS3.10 section 8.6): a DICOM object without an image."""

_NO_SUFFIX = re.compile(r"[^.]*|[\d.]+")  # no dot, or a DICOM UID as name


@dataclass(frozen=True, kw_only=True)
class ImagePath:
    """One file to score, or one argument that leads to none.

    Attributes:
        path: The file, reached as the user's argument reaches it; with an error, the argument itself.
        error: Why there is no file to score; None where there is one.
    """

    path: str
    error: str | None = None


def expand(arguments: Iterable[str], *, archives: tuple[str, ...] = ()) -> list[ImagePath]:
    """Find the files that arguments mean.

    - A file is taken whatever its name, even a missing one: reading it gives the error.
    - A folder gives the images below it: names with one of covidcxr.images.decode.SUFFIXES, and DICOM objects without a
      suffix, recognised by their content. Hidden files and folders (leading dot), links to folders, pipes and devices
      are left out.
    - A pattern (``*``, ``?``, ``[...]``, ``**`` for all folders below) gives what it matches, files and folders as
      above.

    Args:
        arguments: Paths as typed.
        archives: Lowercase suffixes of other files that a folder gives, whatever their content.

    Returns:
        The arguments in their order, folders and patterns sorted by path. A file that several arguments lead to comes
        several times; see ``unique``.
    """
    return [item for argument in arguments for item in sorted(_expand(argument, archives), key=lambda item: item.path)]


def unique(items: Iterable[ImagePath]) -> list[ImagePath]:
    """Sort by path and drop all but the first path to each file, whatever names or links lead to it."""
    found: dict[str, ImagePath] = {}
    for item in sorted(items, key=lambda item: item.path):
        found.setdefault(item.path if item.error else os.path.realpath(item.path), item)
    return list(found.values())


def _expand(argument: str, archives: tuple[str, ...]) -> Iterator[ImagePath]:
    if os.path.lexists(argument) or not glob.has_magic(argument):
        yield from _expand_path(argument, archives)
        return
    matches = glob.glob(argument, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    if not matches:
        yield ImagePath(path=argument, error=f"Expected files that match the pattern. Received none for {argument}.")
    for match in matches:
        yield from _expand_path(match, archives)


def _expand_path(path: str, archives: tuple[str, ...]) -> Iterator[ImagePath]:
    if not Path(path).is_dir():
        yield ImagePath(path=path)
        return
    empty = True
    for item in _walk(path, archives):
        empty = False
        yield item
    if empty:
        yield ImagePath(path=path, error=f"Expected a folder with images. Received {path} without any.")


def _walk(folder: str, archives: tuple[str, ...]) -> Iterator[ImagePath]:
    refused: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - a Path would drop the leading "./" that the user typed
            if name.startswith(".") or _would_block(path):
                continue
            if name.lower().endswith(archives) or _is_image(Path(path)):
                yield ImagePath(path=path)
    for error in refused:
        yield ImagePath(
            path=error.filename, error=f"Expected a readable folder. Received {error.filename}: {error.strerror}."
        )


def _would_block(path: str) -> bool:
    """Return whether reading could wait forever: a pipe, a socket, a device."""
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113 - these never raise


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    if not _NO_SUFFIX.fullmatch(path.name) or path.name == DIRECTORY_FILE or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return True  # reading it gives the error
