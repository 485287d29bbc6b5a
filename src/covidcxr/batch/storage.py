"""Local files and objects in stores, read whole, and written so that they appear whole or not at all."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
from pyarrow import fs

from covidcxr import _files
from covidcxr.errors import BatchError

SCHEMES = {"s3": "", "gs": "?retry_limit_seconds=60"}
"""Object stores that pyarrow supports, with their options; credentials and endpoint come from the usual environment
variables. Without the limit, pyarrow retries for a quarter of an hour when Google does not know a bucket."""
PAUSES_S = (1.0, 4.0)
"""Pauses between attempts to read from a store: throttling must not become an error of the image."""
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError)


def is_remote(name: str) -> bool:
    """Tell whether a name is the address of an object in a store, not a path."""
    return "://" in name


def join(folder: str, *names: str) -> str:
    """Join names to a folder, local or in a store."""
    return "/".join((folder.rstrip("/") or "/", *names)) if is_remote(folder) else str(Path(folder, *names))


def locate(name: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an object in a store, and the path of the object in it.

    ``gs://anonymous@bucket/...`` reads public objects without credentials.

    Raises:
        BatchError: The address has no scheme of SCHEMES or no valid bucket.
        OSError: The bucket cannot be reached.
    """
    scheme, _, path = name.partition("://")
    authority, separator, key = path.rstrip("/").partition("/")
    if scheme not in SCHEMES or not authority:
        raise BatchError(f"Expected a path, or a bucket with s3:// or gs:// before its name. Received {name}.")
    try:
        store, bucket = _connect(scheme, authority)
    except ValueError as error:
        raise BatchError(f"Expected the address of a bucket. Received {name}: {error}.") from error
    return store, bucket + separator + key


@lru_cache
def _connect(scheme: str, authority: str) -> tuple[fs.FileSystem, str]:
    """Connect once to each bucket, because finding its region takes a request."""
    store, bucket = fs.FileSystem.from_uri(f"{scheme}://{authority}{SCHEMES[scheme]}")
    return store, bucket


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a file for sequential reading.

    Raises:
        OSError: The file does not exist or cannot be read.
    """
    if not is_remote(name):
        with Path(name).open("rb") as file:
            yield file
        return
    store, path = locate(name)
    with store.open_input_stream(path) as stream:
        yield stream


def read(name: str, limit: int) -> bytes:
    """Read at most ``limit`` bytes from the start of a file; reads from a store are retried after PAUSES_S.

    Raises:
        OSError: The file does not exist or cannot be read.
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
    """Tell whether a file exists."""
    if not is_remote(name):
        return Path(name).is_file()
    store, path = locate(name)
    return bool(store.get_file_info(path).type == fs.FileType.File)


def names_in(folder: str) -> set[str]:
    """Return the names in a folder, not in those below it; empty if there is no folder."""
    if not is_remote(folder):
        return {entry.name for entry in os.scandir(folder)} if Path(folder).is_dir() else set()
    store, path = locate(folder)
    return {info.base_name for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True))}


@contextmanager
def whole(name: str) -> Iterator[Path]:
    """Give a local path to write to; its content becomes the file ``name`` when the context ends.

    After an error or a kill ``name`` is as it was. A local file is synced to disk before it gets its name, and a store
    shows an object only when its last byte has arrived. Of two writers of one name the last wins.
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
    with _files.whole(target, suffix="") as partial:  # DuckDB reads hidden *.parquet files, too
        yield partial


def write(name: str, content: bytes) -> None:
    """Write a file as ``whole`` does."""
    with whole(name) as path:
        path.write_bytes(content)


def remove_partial(folder: str) -> None:
    """Remove the files that killed writers left in a folder; its lock must be held."""
    if not is_remote(folder):
        for path in Path(folder).glob(".*.part"):
            path.unlink(missing_ok=True)


def parquet(name: str) -> pq.ParquetFile:
    """Open a Parquet file to read parts of it.

    Raises:
        OSError: The file does not exist or cannot be read.
        pyarrow.ArrowException: The file is not a Parquet file.
    """
    if not is_remote(name):
        return pq.ParquetFile(name)
    store, path = locate(name)
    return pq.ParquetFile(path, filesystem=store)
