"""Report on a manifest: counts, rejects, duplicates, and a contact sheet per collection."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from covidcxr import __version__
from covidcxr._files import write_json
from covidcxr._templates import render_page
from covidcxr.data.collect import Reject, read_rejects
from covidcxr.data.duplicates import DuplicatePair, read_duplicates
from covidcxr.data.manifest import Record, Split, data_hash, read_manifest
from covidcxr.data.sources import SOURCES
from covidcxr.images.decode import read_image
from covidcxr.labels import LABELS

SHEET_PICTURES = 40
_COLUMNS, _SIDE, _CAPTION, _GAP = 8, 150, 14, 6  # layout of a contact sheet: images per row, then pixels
_PAPER, _INK = 24, 230  # grey levels
AGE_BANDS = {"0-17": (0, 18), "18-39": (18, 40), "40-59": (40, 60), "60-79": (60, 80), "80+": (80, 200)}
"""Name of each band to its range in years, upper end excluded."""

Table = dict[str, dict[str, int]]
"""Row name to column name to count; every row has all columns."""


def write_report(manifest: Path, out: Path, *, seed: int = 0) -> dict[str, Any]:
    """Write ``data.html`` (self-contained), ``data.json`` and ``sheet-<source>.png`` into a folder.

    Args:
        manifest: Manifest of ``covidcxr data build``, next to its two tables.
        out: Output folder, created if missing.
        seed: Seed of the choice of images for the contact sheets.

    Returns:
        Content of data.json.

    Raises:
        ManifestError: The manifest or one of its tables is missing or broken; the message names it.
        ImageError: An image of the manifest is missing or broken; the message names it.
    """
    records = read_manifest(manifest)
    rejects = read_rejects(manifest.with_suffix(".rejects.csv"))
    pairs = read_duplicates(manifest.with_suffix(".duplicates.csv"))
    out.mkdir(parents=True, exist_ok=True)
    summary = summarise(records, rejects, pairs)
    sheets = {}
    for source in summary["sources"]:
        sheet = contact_sheet([record for record in records if record.source == source], seed=seed)
        sheet.save(out / f"sheet-{source}.png")
        sheets[source] = _data_url(sheet)
    write_json(out / "data.json", summary)
    page = render_page("covidcxr.data", "data_report.html", {}, data=summary, sheets=sheets)
    (out / "data.html").write_text(page, encoding="utf-8")
    return summary


def summarise(records: Sequence[Record], rejects: Sequence[Reject], pairs: Sequence[DuplicatePair]) -> dict[str, Any]:
    """Count everything that the report shows.

    Returns:
        JSON values; tables have the type Table.
    """
    frame = pd.DataFrame([asdict(record) for record in records])
    frame["age band"] = [age_band(record.age) for record in records]
    order = [name for name in SOURCES if name in set(frame["source"])]
    left_out = pd.DataFrame([asdict(reject) for reject in rejects], columns=["source", "reason", "finding"])
    external = {name for name, source in SOURCES.items() if source.external}
    return {
        "covidcxr": __version__,
        "data_hash": data_hash(records),
        "pictures": len(records),
        "patients": int(frame["patient_id"].nunique()),
        "groups": int(frame["group"].nunique()),
        "left_out": len(rejects),
        "duplicate_pairs": len(pairs),
        "duplicate_pairs_across": sum(_source(pair.id_a) != _source(pair.id_b) for pair in pairs),
        "sources": {name: _about(name) for name in order},
        "by_label": _count(frame, "source", "label", columns=[str(label) for label in LABELS]),
        "by_split": _count(frame, "source", "split", columns=[str(split) for split in Split]),
        "by_split_and_label": _count(frame, "split", "label", columns=[str(label) for label in LABELS]),
        "by_view": _count(frame, "source", "view"),
        "by_age": _count(frame, "source", "age band", columns=[*AGE_BANDS, "unknown"]),
        "by_age_and_label": _count(frame, "age band", "label", columns=[str(label) for label in LABELS]),
        "by_sex": _count(frame.replace({"sex": {"": "unknown"}}), "source", "sex"),
        "left_out_by_reason": _count(left_out, "source", "reason"),
        "left_out_findings": _findings(left_out),
        "duplicates": _duplicate_matrix(pairs, order),
        "external_for_what_they_share": [
            r.id for r in records if r.split is Split.EXTERNAL and r.source not in external
        ],
    }


def age_band(age: float | None) -> str:
    """Return the name of the band of AGE_BANDS that contains an age in years; ``unknown`` for None."""
    if age is None:
        return "unknown"
    return next(name for name, (low, high) in AGE_BANDS.items() if low <= age < high)


def _source(record_id: str) -> str:
    return record_id.split("/", 1)[0]


def _about(name: str) -> dict[str, str]:
    source = SOURCES[name]
    return {key: getattr(source, key) for key in ("title", "homepage", "licence", "citation")}


def _count(frame: pd.DataFrame, row: str, column: str, columns: Iterable[str] | None = None) -> Table:
    """Cross-tabulate two columns, with totals."""
    if frame.empty:
        return {}
    counts = pd.crosstab(frame[row].astype(str), frame[column].astype(str), margins=True, margins_name="all")
    if columns is not None:
        counts = counts.reindex(columns=[*columns, "all"], fill_value=0)
    return {str(name): {str(key): int(value) for key, value in line.items()} for name, line in counts.iterrows()}


def _findings(left_out: pd.DataFrame) -> dict[str, int]:
    """Count the findings that belong to no class, most frequent first."""
    unknown = left_out.loc[left_out["reason"] == "finding", "finding"].replace("", "(empty)")
    return {str(finding): int(count) for finding, count in unknown.value_counts().sort_index(kind="stable").items()}


def _duplicate_matrix(pairs: Sequence[DuplicatePair], order: Sequence[str]) -> Table:
    """Count pairs by collection: a symmetric table with the pairs within a collection on the diagonal."""
    table = {row: dict.fromkeys(order, 0) for row in order}
    for pair in pairs:
        first, second = _source(pair.id_a), _source(pair.id_b)
        table[first][second] += 1
        if first != second:
            table[second][first] += 1
    return table


def contact_sheet(records: Sequence[Record], *, seed: int) -> Image.Image:
    """Draw up to SHEET_PICTURES images, chosen by the seed and ordered by class, with class and view below each.

    Returns:
        Greyscale image in which every radiograph keeps its aspect ratio.

    Raises:
        ImageError: An image is missing or broken.
    """
    chosen = np.random.default_rng(seed).permutation(len(records))[:SHEET_PICTURES]
    shown = sorted((records[i] for i in chosen), key=lambda record: (LABELS.index(record.label), record.id))
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _CAPTION + _GAP) + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for place, record in enumerate(shown):
        left = _GAP + place % _COLUMNS * (_SIDE + _GAP)
        top = _GAP + place // _COLUMNS * (_SIDE + _CAPTION + _GAP)
        picture = Image.fromarray(read_image(record.path))
        picture.thumbnail((_SIDE, _SIDE))
        sheet.paste(picture, (left + (_SIDE - picture.width) // 2, top + (_SIDE - picture.height) // 2))
        pen.text((left + _SIDE // 2, top + _SIDE), f"{record.label}, {record.view}", _INK, font, anchor="mt")
    return sheet


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
