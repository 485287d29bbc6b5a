"""Summary of a batch: counts, times, distributions and drift, in memory that does not grow with the images."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covidcxr.batch.drift import Histogram, drift
from covidcxr.batch.plan import Plan, part_of, parts_done
from covidcxr.batch.reading import ahead
from covidcxr.batch.reference import histograms
from covidcxr.batch.storage import parquet
from covidcxr.labels import LABELS

DISTINCT_ERRORS = 100
"""Number of different errors that are counted one by one; the rest is counted as OTHER."""
OTHER = "other errors"
TIMES = ("read_ms", "decode_ms", "predict_ms")
GREYS = {"grey_mean": 255.0, "grey_spread": 128.0}
"""Columns about grey values, with their largest value; half of the pixels 0 and half 255 give the largest spread."""


@dataclass
class Totals:
    """Counts over the rows so far.

    Attributes:
        images: Number of rows.
        labels: Rows by label; rows without a label count as ``abstained``, rows with an error as ``error``.
        flags: Rows by flag.
        errors: Rows by error, with the name of the image replaced by ``FILE``.
        times_ms: Sum of each column of TIMES.
        histograms: Histograms by column, over the rows without an error.
    """

    images: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    times_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMES, 0.0))
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a part."""
        failed = rows.filter(pc.is_valid(rows["error"]))
        scored = rows.filter(pc.is_null(rows["error"]))
        self.images += len(rows)
        self.labels.update(_counts(pc.fill_null(scored["label"], "abstained")))
        self.labels.update({"error": len(failed)} if len(failed) else {})
        self.flags.update(_counts(pc.list_flatten(scored["flags"])))
        for row in failed.select(["path", "member", "error"]).to_pylist():
            error = _without_name(**row)
            self.errors[error if error in self.errors or len(self.errors) < DISTINCT_ERRORS else OTHER] += 1
        for name in TIMES:
            self.times_ms[name] += pc.sum(rows[name]).as_py() or 0.0
        for name, highest in GREYS.items() | {(label, 1.0) for label in LABELS if label in rows.column_names}:
            histogram = self.histograms.setdefault(name, Histogram(low=0.0, high=highest))
            histogram.add(scored[name].to_numpy().astype(np.float64))


def count(out: str, plan: Plan) -> Totals:
    """Count the rows of all parts, a few parts in memory at a time."""
    totals = Totals()
    for rows in ahead(partial(_read_part, part_of(out, shard)) for shard in parts_done(out, plan)):
        totals.add(rows)
    return totals


def _read_part(name: str) -> pa.Table:
    columns = ["path", "member", "label", "flags", "error", *TIMES, *GREYS, *LABELS]
    with parquet(name) as part:
        return part.read([name for name in columns if name in part.schema_arrow.names])


def summarise(
    totals: Totals, *, plan: Plan, reference: Mapping[str, Any] | None, run: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of summary.json.

    Args:
        totals: Counts over all parts.
        plan: Plan of the batch.
        reference: Reference from covidcxr.batch.reference.find_reference; None for none.
        run: Number of images, seconds and rate of this run of the command.
    """
    compared = histograms(reference) if reference else {}
    found = {name: drift(compared[name], own) for name, own in totals.histograms.items() if name in compared}
    return {
        "model": plan.settings.model,
        "sources": plan.settings.sources,
        "images": totals.images,
        "labels": dict(totals.labels.most_common()),
        "flags": dict(totals.flags.most_common()),
        "errors": dict(totals.errors.most_common()),
        "ms_per_image": {name: total / max(totals.images, 1) for name, total in totals.times_ms.items()},
        "run": dict(run),
        "histograms": {name: histogram.to_dict() for name, histogram in sorted(totals.histograms.items())},
        "reference": {"sources": reference["sources"], "images": reference["images"]} if reference else None,
        "drift": {name: asdict(one) for name, one in sorted(found.items()) if one},
    }


def _counts(names: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(names).to_pylist()}


def _without_name(*, path: str, member: str | None, error: str) -> str:
    names: Iterable[str] = (f"{path}:{member}", path) if member else (path,)
    for name in names:
        error = error.replace(name, "FILE")
    return error
