"""What ``covidcxr batch`` says of images that the shipped model never saw: the test split, and collections in it.

Writes docs/results/drift.json. External images are not looked at.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from make_reference import training_images, watched
from tables import ROOT

from covidcxr.batch.run import Options, run
from covidcxr.data.manifest import Record, Split, read_manifest, write_table
from covidcxr.prediction.predictor import Predictor

RESULTS = ROOT / "docs" / "results" / "drift.json"
FEWEST = 50
"""Images of a collection that are worth a line."""


def measured(records: Sequence[Record]) -> dict[str, Any]:
    """Score records by the command; return how many they are and their drift."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "list.csv")
        write_table(table, ["path"], [[record.path.resolve()] for record in records])
        summary = run(Options(sources=(str(table),), out=str(Path(folder, "out"))), watched)
    return {"images": summary["images"], "reference": summary["reference"]["images"], "drift": summary["drift"]}


def main() -> None:
    """Measure the whole split and each collection in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="the one that the shipped model was trained on")
    records = read_manifest(parser.parse_args().manifest)
    predictor = Predictor.load()
    training_images(records, predictor)  # refuses another manifest
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split is Split.TEST:
            parts["all"].append(record)
            parts[record.source].append(record)
    found = {name: measured(part) for name, part in parts.items() if len(part) >= FEWEST}
    RESULTS.write_text(json.dumps({"model": predictor.model, "parts": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
