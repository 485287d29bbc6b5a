"""Measure what ``covidcxr batch`` reports for images the shipped model never saw: the test split and its collections.

Writes docs/results/drift.json. External images are not used.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from covidcxr._files import write_json
from covidcxr.batch.run import BatchOptions, run
from covidcxr.batch.scoring import ShardResult
from covidcxr.data.manifest import Record, read_manifest
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.selection import trained_parts

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "drift.json"
SMALLEST = 50
"""Images that a collection needs for a line of its own."""


def measured(records: Sequence[Record]) -> dict[str, Any]:
    """Score records with the shipped model; return their number and their drift."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "list.parquet")
        pq.write_table(pa.table({"path": [str(record.path.resolve()) for record in records]}), table)
        summary = run(BatchOptions(sources=(str(table),), out=str(Path(folder, "out"))), progress)
    return {"images": summary["images"], "reference": summary["reference"]["images"], "drift": summary["drift"]}


def progress(plan: object, left: object, results: Iterator[ShardResult]) -> Iterator[ShardResult]:
    """Show the number of shards done."""
    return iter(tqdm(results, desc="shards", disable=None))


def main() -> None:
    """Measure the whole split and each collection in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path, help="manifest that the shipped model was trained on")
    records = read_manifest(parser.parse_args().manifest)
    predictor = Predictor.load()
    trained_parts(records, predictor)  # rejects another manifest
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split == "test":
            parts["all"].append(record)
            parts[record.source].append(record)
    found = {name: measured(part) for name, part in parts.items() if len(part) >= SMALLEST}
    write_json(RESULTS, {"model": predictor.model, "parts": found}, indent=1)


if __name__ == "__main__":
    main()
