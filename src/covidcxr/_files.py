"""Files that appear whole or not at all, and locks between processes."""

import json
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from covidcxr.errors import LockedError

_STEM = 40  # characters of the target's name that its partial file keeps; file systems take 255 bytes


@contextmanager
def whole(path: Path, *, sync: bool = True, keep: bool = False, suffix: str | None = None) -> Iterator[Path]:
    """Give a path to write to; its content becomes the file ``path`` at once, when all of it is there.

    After an error, or a kill at any moment, ``path`` is as it was. Two writers of one path do not disturb each other:
    the last one wins. A pipe, a device or this process's own standard output (``/dev/stdout``) is never replaced: the
    path is then ``path`` itself, which should be opened for appending.

    Args:
        path: File to write, in an existing folder.
        sync: Whether the content reaches the disk before the name does. Costs milliseconds a file; leave it out for
            what can be computed again.
        keep: Whether an error leaves the partial file.
        suffix: Suffix of the partial file; None for that of ``path``. Programs that read all files of a folder with
            one suffix, hidden ones included, then pass over it.

    Yields:
        Hidden path beside ``path``, with ``.part`` before its suffix.
    """
    if _is_written_in_place(path):
        yield path
        return
    real = Path(os.path.realpath(path))  # a link stays a link
    suffix = path.suffix if suffix is None else suffix
    partial = real.with_name(f".{path.stem[:_STEM]}.{uuid.uuid4().hex[:12]}.part{suffix}")
    try:
        yield partial
        if sync:
            _sync(partial, os.O_RDWR)
        partial.replace(real)
        if sync and sys.platform != "win32":
            _sync(real.parent, os.O_RDONLY)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == str(partial):
            error.filename = str(path)  # the name that its user knows
        if not keep:
            partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:  # noqa: ANN401
    """Write an object as a JSON file (UTF-8) that appears whole or not at all.

    Args:
        path: File to write, in an existing folder.
        content: Whatever ``json.dumps`` takes.
        indent: Spaces a level; None writes one line.
    """
    with whole(path) as partial, partial.open("a", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=indent) + "\n")


def lock(path: Path) -> IO[bytes]:
    """Lock a file, which is made if need be, for as long as the returned file is open.

    The system releases the lock when the process ends, however it ends.

    Args:
        path: Lock file in the folder that one process at a time may use.

    Raises:
        LockedError: Another process holds it; the message names the folder.
    """
    file = path.open("ab")
    try:
        if sys.platform == "win32":  # imported here: each system has one of them only
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise LockedError(f"Another process is using {path.parent}.") from error
    return file


def _is_written_in_place(path: Path) -> bool:
    try:
        target = path.stat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(target.st_mode) or any(_is_stream(target, descriptor) for descriptor in (1, 2))


def _is_stream(target: os.stat_result, descriptor: int) -> bool:
    with suppress(OSError):  # closed
        return os.path.samestat(target, os.fstat(descriptor))
    return False


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
