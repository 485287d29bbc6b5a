"""Sources of a batch: expand folders, patterns, lists and buckets into images and tar files in a fixed order."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from glob import glob, has_magic
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import fs

from covidcxr.batch.storage import is_remote, locate, opened, parquet
from covidcxr.errors import BatchError
from covidcxr.images.decode import SUFFIXES
from covidcxr.images.paths import ImagePath, expand, unique

LISTS = (".csv", ".parquet")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
COLUMN = "path"
"""Column of a list that holds the paths."""
LIST_ROWS = 4096
"""Rows of a Parquet list in memory at a time."""

_DICOM_UID = re.compile(r"[\d.]+")  # as a name, without a suffix


def find(arguments: Sequence[str]) -> Iterator[ImagePath]:
    """Find the images and tar files that sources name.

    - Local files, folders and patterns: found as ``covidcxr predict`` finds them, plus tar files below folders.
    - Lists, ``.csv`` or ``.parquet``: the paths in column ``path``, in the order of the list, duplicates included;
      relative paths start at the folder of the list.
    - ``s3://`` and ``gs://``: an object, a pattern, or a prefix with all images and tar files below it, recognised by
      name.

    Yields:
        Inputs. Local paths are absolute, because readers and workers may have another working directory.

    Raises:
        BatchError: No source leads to a file (a mistake that must not start a batch), a list cannot be read, or a store
            cannot be reached.
    """
    arguments = [name if is_remote(name) else os.path.abspath(name) for name in arguments]  # noqa: PTH100 - keeps links
    arguments = [name for argument in arguments for name in _lists_of(argument)]
    special = [argument for argument in arguments if is_remote(argument) or is_list(argument)]
    found = unique(expand([argument for argument in arguments if argument not in special], archives=ARCHIVES))
    if not special and not any(os.path.lexists(item.path) for item in found if item.error is None):
        raise BatchError(found[0].error or f"Expected a file or folder. Received {found[0].path}, which is not there.")
    yield from map(_nameable, found)
    for argument in special:
        yield from _listed(argument) if is_list(argument) else _remote(argument)


def is_list(name: str) -> bool:
    """Tell by name whether a file is a list of images."""
    return name.lower().endswith(LISTS)


def is_archive(name: str) -> bool:
    """Tell by name whether a file is a tar file of images."""
    return name.lower().endswith(ARCHIVES)


def is_image_name(name: str) -> bool:
    """Tell by name whether a file may be an image: it has the suffix of one, or is a DICOM UID."""
    path = PurePosixPath(name)
    return not path.name.startswith(".") and (
        path.suffix.lower() in SUFFIXES or _DICOM_UID.fullmatch(path.name) is not None
    )


def _lists_of(argument: str) -> list[str]:
    """Return the lists that a local pattern such as ``*.csv`` matches, or the argument itself."""
    if is_remote(argument) or not is_list(argument) or os.path.lexists(argument):
        return [argument]
    return sorted(glob(argument, recursive=True)) or [argument]  # noqa: PTH207 - as covidcxr.images.paths does it


def _nameable(item: ImagePath) -> ImagePath:
    """Turn a name that is not valid text into an error, because Parquet cannot store it."""
    try:
        item.path.encode()
    except UnicodeEncodeError:
        shown = item.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return ImagePath(path=shown, error=f"Expected a file name in UTF-8. Received {shown}.")
    return item


def _listed(name: str) -> Iterator[ImagePath]:
    folder = name.rpartition("/")[0]
    try:
        paths = _parquet_paths(name) if name.lower().endswith(".parquet") else _csv_paths(name)
        for number, path in enumerate(paths, 1):
            if not path:
                yield ImagePath(
                    path=name, error=f"Expected a path in every row. Received none in row {number} of {name}."
                )
            else:
                yield ImagePath(path=path if is_remote(path) or path.startswith("/") else _below(folder, path))
    except (OSError, KeyError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise BatchError(f"Expected a list with a column {COLUMN!r}. Received {name}: {error}.") from error


def _below(folder: str, path: str) -> str:
    """Resolve a relative path; object stores do not resolve ``..`` themselves."""
    scheme, separator, rest = f"{folder}/{path}".rpartition("://")
    return f"{scheme}{separator}{posixpath.normpath(rest)}" if separator else rest


def _csv_paths(name: str) -> Iterator[str | None]:
    with opened(name) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        for row in csv.DictReader(text):
            yield row[COLUMN]


def _parquet_paths(name: str) -> Iterator[str | None]:
    with parquet(name) as table:
        for batch in table.iter_batches(LIST_ROWS, columns=[COLUMN]):
            yield from batch[COLUMN].cast(pa.string()).to_pylist()


def _remote(address: str) -> Iterator[ImagePath]:
    """List a store, sorted, because each store has its own order."""
    store, path = locate(address)
    bucket = address.rstrip("/").removesuffix(path)  # as the user wrote it
    pattern = has_magic(path)
    if not pattern and store.get_file_info(path).type == fs.FileType.File:
        yield ImagePath(path=address)
        return
    base = re.split(r"/[^/]*[*?\[]", path, maxsplit=1)[0] if pattern else path
    found = store.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    paths = sorted(info.path for info in found if info.type == fs.FileType.File)
    chosen = [
        path_ for path_ in paths if (fnmatch(path_, path) if pattern else is_image_name(path_) or is_archive(path_))
    ]
    if not chosen:
        yield ImagePath(path=address, error=f"Expected images below {address}. Received none.")
    yield from (ImagePath(path=bucket + path_) for path_ in chosen)
