"""The table of all images: one validated, frozen record an image, one CSV file for all."""

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from covidcxr.errors import ManifestError
from covidcxr.labels import Label


class View(StrEnum):
    """Projection of a radiograph. Only the frontal ones enter a manifest."""

    PA = "PA"
    AP = "AP"
    AP_SUPINE = "AP Supine"
    FRONTAL = "frontal"
    """Frontal by the publisher's word, PA or AP not published."""
    LATERAL = "lateral"
    CT = "CT"
    UNKNOWN = ""


FRONTAL_VIEWS = frozenset({View.PA, View.AP, View.AP_SUPINE, View.FRONTAL})
GROWN_UP = 18
"""Years."""
CHILDRENS_ORIGIN = "kermany"
"""Origin whose patients are all aged 1 to 5 (Kermany et al. 2018), without an age of each."""


class Split(StrEnum):
    """Part of the data a record belongs to. ``external`` is looked at by a finished model only."""

    TRAIN = "train"
    TEST = "test"
    EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One radiograph.

    Attributes:
        id: ``source/file name``, unique in a manifest.
        path: The file. In the CSV relative to the folder of the manifest, in memory ready to open.
        source: Name of the collection, a key of ``covidcxr.data.sources.SOURCES``.
        origin: Where the picture was taken as far as that is published, such as ``kermany`` for the children that
            the Radiography collection copied; the collection's own name where nothing else is known.
        patient_id: Identifier of the patient as the collection gives it, prefixed by the source.
        finding: The finding as published, word for word.
        label: The class that the finding stands for.
        view: Projection, one of FRONTAL_VIEWS.
        age: Years, None where not published.
        sex: ``M``, ``F`` or empty.
        licence: Licence of this picture.
        sha256: Hash of the file, 64 hex digits.
        width: Columns of the decoded picture in pixels.
        height: Rows of the decoded picture in pixels.
        group: Images that share a patient or nearly the same picture share a group; splits never cut one.
        split: Part of the data.
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
    """Write a CSV file (UTF-8) that appears whole or not at all."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    partial.replace(path)


def relative_path(path: Path, table: Path) -> str:
    """Return how a table names a file: relative to the table's folder, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), table.resolve().parent)).as_posix()


def write_manifest(records: Iterable[Record], path: Path) -> None:
    """Write records as CSV (UTF-8, one row a record, columns as in Record), paths relative to the file's folder."""

    def cells(record: Record) -> Iterable[object]:
        row = {name: getattr(record, name) for name in COLUMNS}
        row["path"] = relative_path(record.path, path)
        row["age"] = "" if record.age is None else f"{record.age:g}"
        return row.values()

    write_table(path, COLUMNS, map(cells, records))


def read_manifest(path: Path) -> list[Record]:
    """Read a manifest written by write_manifest.

    Raises:
        ManifestError: The file is missing, empty or no CSV in UTF-8, a column is missing, an id stands twice, or a row
            is not valid; the message names the file and the line.
    """
    if not path.is_file():
        raise ManifestError(f"Expected a manifest made by 'covidcxr data build'. Received no file at {path}.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise ManifestError(f"Expected the columns {', '.join(sorted(missing))} in {path}. Received none.")
            records = [_parse(row, path, line) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"Expected a CSV file in UTF-8. Received {path}: {error}") from error
    if len({record.id for record in records}) < len(records):
        raise ManifestError(f"Expected every id once in {path}. Received some id twice.")
    return records


def _parse(row: dict[str, str], path: Path, line: int) -> Record:
    try:
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
    except (TypeError, ValueError, ManifestError) as error:  # TypeError: a short row has None in its last cells
        raise ManifestError(f"Expected a valid record in line {line} of {path}. Received: {error}") from error


def data_hash(records: Sequence[Record]) -> str:
    """Return the sha256 (hex) of what a model learns from: pictures, labels, groups and splits, wherever they lie."""
    rows = sorted("\t".join((r.id, r.sha256, r.label, r.group, r.split)) for r in records)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
