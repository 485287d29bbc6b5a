"""Manifest: one validated, frozen record per image, all in one CSV file."""

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from covidcxr._files import whole
from covidcxr.errors import ManifestError
from covidcxr.labels import Label

T = TypeVar("T")


class View(StrEnum):
    """Projection of a radiograph. A manifest contains frontal ones only."""

    PA = "PA"
    AP = "AP"
    AP_SUPINE = "AP Supine"
    FRONTAL = "frontal"
    """Frontal according to the publisher, without a statement whether PA or AP."""
    LATERAL = "lateral"
    CT = "CT"
    UNKNOWN = ""


FRONTAL_VIEWS = frozenset({View.PA, View.AP, View.AP_SUPINE, View.FRONTAL})
GROWN_UP = 18
"""Age of adults in years, and over."""


class Split(StrEnum):
    """Part of the data. ``external`` is for finished models only."""

    TRAIN = "train"
    TEST = "test"
    EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A radiograph.

    Attributes:
        id: ``source/file name``, unique in a manifest.
        path: The file; in the CSV, relative to the folder of the manifest.
        source: Name of the collection, a key of ``covidcxr.data.sources.SOURCES``.
        origin: Where the image was taken: the name of the collection that published it first, such as that of the
            children's collection for the images that another one copied from it. If nothing else is known, the source.
        patient_id: Identifier of the patient in the collection, prefixed with the source.
        finding: Finding as published, word for word.
        label: Class of the finding.
        view: Projection, one of FRONTAL_VIEWS.
        age: Age in years; None if it is not published.
        sex: ``M``, ``F`` or empty.
        licence: Licence of this image.
        sha256: Hash of the file, 64 hex digits.
        width: Columns of the decoded image in pixels.
        height: Rows of the decoded image in pixels.
        group: Common name of all images that share a patient or show nearly the same radiograph; a group is never
            divided between splits.
        split: Part of the data.

    Raises:
        ManifestError: A field is invalid; the message names the record.
    """

    id: str
    path: Path
    source: str
    origin: str
    patient_id: str
    finding: str
    label: Label
    view: View
    age: float | None
    sex: str
    licence: str
    sha256: str
    width: int
    height: int
    group: str
    split: Split

    def __post_init__(self) -> None:
        checks = {
            "id": bool(self.id),
            "patient_id": bool(self.patient_id),
            "view": self.view in FRONTAL_VIEWS,
            "age": self.age is None or 0 <= self.age <= 120,
            "sex": self.sex in ("M", "F", ""),
            "sha256": len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef"),
            "width": self.width > 0,
            "height": self.height > 0,
            "group": bool(self.group),
        }
        for name, valid in checks.items():
            if not valid:
                raise ManifestError(f"Expected a valid {name} in record {self.id!r}. Received {getattr(self, name)!r}.")


COLUMNS = tuple(field.name for field in fields(Record))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file (UTF-8); it appears complete or not at all."""
    with whole(path) as partial, partial.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def relative_path(path: Path, table: Path) -> str:
    """Return the path of a file relative to the folder of a table, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), table.resolve().parent)).as_posix()


def write_manifest(records: Iterable[Record], path: Path) -> None:
    """Write records as CSV (UTF-8), one row per record, with the columns of Record and relative paths."""

    def cells(record: Record) -> Iterable[object]:
        row = {name: getattr(record, name) for name in COLUMNS}
        row["path"] = relative_path(record.path, path)
        row["age"] = "" if record.age is None else f"{record.age:g}"
        return row.values()

    write_table(path, COLUMNS, map(cells, records))


def read_table(path: Path, columns: Sequence[str], parse: Callable[[dict[str, str]], T]) -> list[T]:
    """Read a CSV file written by write_table.

    Args:
        path: CSV file in UTF-8.
        columns: Columns that it must have.
        parse: Turns a row into a value.

    Raises:
        ManifestError: The file is missing, is not CSV in UTF-8, lacks a column, or has an invalid row; the message
            names the file and the line.
    """
    if not path.is_file():
        raise ManifestError(f"Expected a table written by 'covidcxr data build'. Received no file at {path}.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = sorted(set(columns) - set(reader.fieldnames or ()))
            if missing:
                raise ManifestError(f"Expected the columns {', '.join(columns)} in {path}. Missing: {missing}.")
            return [_parsed(row, parse, path, line) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"Expected a CSV file in UTF-8. Received {path}: {error}") from error


def _parsed(row: dict[str, str], parse: Callable[[dict[str, str]], T], path: Path, line: int) -> T:
    try:
        return parse(row)
    except (TypeError, ValueError, ManifestError) as error:  # TypeError: a short row has None at its end
        raise ManifestError(f"Expected a valid row in line {line} of {path}. Received: {error}") from error


def read_manifest(path: Path) -> list[Record]:
    """Read a manifest written by write_manifest.

    Raises:
        ManifestError: The file cannot be read (see read_table) or an id occurs twice; the message names the file.
    """

    def record(row: dict[str, str]) -> Record:
        return Record(
            **{name: row[name] for name in ("id", "source", "origin", "patient_id", "finding", "sex")},
            **{name: row[name] for name in ("licence", "sha256", "group")},
            path=path.parent / row["path"],
            label=Label(row["label"]),
            view=View(row["view"]),
            age=float(row["age"]) if row["age"] else None,
            width=int(row["width"]),
            height=int(row["height"]),
            split=Split(row["split"]),
        )

    records = read_table(path, COLUMNS, record)
    if len({record.id for record in records}) < len(records):
        raise ManifestError(f"Expected unique ids in {path}. Received some id twice.")
    return records


def data_hash(records: Sequence[Record]) -> str:
    """Return the sha256 (hex) of the images, labels, groups and splits of records, independent of their paths."""
    rows = sorted("\t".join((r.id, r.sha256, r.label, r.group, r.split)) for r in records)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
