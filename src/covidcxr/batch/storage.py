"""Files on this machine and in object stores: read whole, and written so that they appear whole or not at all."""

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
from pyarrow import fs

from covidcxr.errors import CovidCxrError

SCHEMES = {"s3": "", "gs": "?retry_limit_seconds=60"}
"""Object stores that pyarrow reaches by itself, and how: credentials and endpoint come from their usual variables. By
itself it tries a quarter of an hour before it says that Google knows nobody of that name."""
PAUSES_S = (1.0, 4.0)
"""Between tries to reach an object store: what it refuses in a busy moment must not become an error of the image."""
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError)


class BatchError(CovidCxrError):
    """A batch cannot be planned, continued or finished."""


def is_remote(name: str) -> bool:
    """Tell whether a name means an object in a store rather than a file."""
    return "://" in name


def join(folder: str, *names: str) -> str:
    """Return the name of something below a folder, on this machine or in a store."""
    return "/".join((folder.rstrip("/") or "/", *names)) if is_remote(folder) else str(Path(folder, *names))


def locate(name: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an object in a store, and what the object is called there.

    ``gs://anonymous@bucket/...`` asks without credentials, for what is public.

    Raises:
        BatchError: A store that is not one of SCHEMES.
    """
    scheme, _, path = name.partition("://")
    if scheme not in SCHEMES:
        raise BatchError(f"Expected a path, or an address that starts with s3:// or gs://. Received {name}.")
    authority, separator, key = path.rstrip("/").partition("/")
    store, bucket = _connect(scheme, authority)
    return store, bucket + separator + key


@lru_cache
def _connect(scheme: str, authority: str) -> tuple[fs.FileSystem, str]:
    """Connect once to each bucket: it takes a request to find its region."""
    try:
        store, bucket = fs.FileSystem.from_uri(f"{scheme}://{authority}{SCHEMES[scheme]}")
    except (OSError, ValueError) as error:
        raise BatchError(f"Expected a bucket that can be reached. Received {scheme}://{authority}: {error}.") from error
    return store, bucket


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a file for reading from its start.

    Raises:
        OSError: It is not there or cannot be read.
    """
    if not is_remote(name):
        with Path(name).open("rb") as file:
            yield file
        return
    store, path = locate(name)
    with store.open_input_stream(path) as stream:
        yield stream


def read(name: str, limit: int) -> bytes:
    """Read a file, at most ``limit`` bytes of it, whatever store it lies in.

    Raises:
        OSError: It is not there or cannot be read, from a store also after a while.
    """
    for pause in PAUSES_S if is_remote(name) else ():
        try:
            return _read(name, limit)
        except PERMANENT:
            raise
        except OSError:
            time.sleep(pause)
    return _read(name, limit)


def _read(name: str, limit: int) -> bytes:
    with opened(name) as file:
        return file.read(limit)


def exists(name: str) -> bool:
    """Tell whether there is a file of this name."""
    if not is_remote(name):
        return Path(name).is_file()
    store, path = locate(name)
    return bool(store.get_file_info(path).type == fs.FileType.File)


def names_in(folder: str) -> set[str]:
    """Return the names of the files right in a folder; none where there is no folder."""
    if not is_remote(folder):
        return {entry.name for entry in os.scandir(folder)} if Path(folder).is_dir() else set()
    store, path = locate(folder)
    return {info.base_name for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True))}


@contextmanager
def whole(name: str) -> Iterator[Path]:
    """Give a path on this machine to write to; what it holds in the end becomes the file ``name``, at once, for good.

    After a failure, or a kill at any moment, ``name`` is as it was. On this machine the bytes are on the disk before
    the name is; a store shows an object when its last byte has arrived. Two writers of one name do not disturb each
    other: the last one wins.
    """
    if is_remote(name):
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder, "whole")
            yield partial
            store, path = locate(name)
            fs.copy_files(str(partial), path, destination_filesystem=store)
        return
    target = Path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        yield partial
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write(name: str, content: bytes) -> None:
    """Write a file; see whole."""
    with whole(name) as path:
        path.write_bytes(content)


def remove_partial(folder: str) -> None:
    """Remove what killed writers left in a folder. Only for whoever is alone in it."""
    if not is_remote(folder):
        for path in Path(folder).glob(".*.part"):
            path.unlink(missing_ok=True)


def parquet(name: str) -> pq.ParquetFile:
    """Open a Parquet file for reading parts of it.

    Raises:
        OSError: It is not there or cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    if not is_remote(name):
        return pq.ParquetFile(name)
    store, path = locate(name)
    return pq.ParquetFile(path, filesystem=store)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
