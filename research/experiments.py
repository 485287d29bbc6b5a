"""Compare candidates in hospitals never seen, all by the same protocol, on features of a frozen network.

    python research/experiments.py --manifest reproduced/manifest.csv --out reproduced/features

Writes docs/results/experiments.json, from which ``make docs`` renders the tables of docs/experiments.md. Features stay
in the folder ``--out``; a stopped command resumes there. The external hospital takes no part.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from candidates import GROUPS, Candidate
from features import Values, extract, load
from scipy.special import softmax
from tqdm import tqdm
from variants import VARIANTS

from covidcxr import __version__
from covidcxr._files import write_json
from covidcxr.data.manifest import Record, Split, data_hash, read_manifest
from covidcxr.evaluation import metrics
from covidcxr.evaluation.cross_source import joint_intervals
from covidcxr.evaluation.leave_out import PAIRS, fold
from covidcxr.evaluation.metrics import FloatArray, IntArray
from covidcxr.evaluation.scoring import Scores
from covidcxr.labels import LABELS, Label
from covidcxr.training.robust_head import COVID, NORMAL, features_of

RESULT = Path(__file__).parents[1] / "docs" / "results" / "experiments.json"
SEED = 0
STEADY = 0.05
"""Added to the standard deviation of a feature over an image, which is often near 0."""

Bank = dict[str, dict[str, Values]]
"""Features by variant, then by ``layer pool``; see features.load."""


class Study:
    """All records with their features.

    Args:
        records: Records of the manifest, without external ones.
        bank: Their features, in the same order.
    """

    def __init__(self, records: Sequence[Record], bank: Bank) -> None:
        self._records, self._bank = list(records), bank
        place = {record.id: number for number, record in enumerate(records)}

        def rows(of: Sequence[Record]) -> tuple[IntArray, IntArray]:
            """Return the rows to train and to test on."""
            train, test = (
                np.array([place[record.id] for record in of if record.split is split])
                for split in (Split.TRAIN, Split.TEST)
            )
            return train, test

        self._folds = {pair.name: rows(fold(records, pair)) for pair in PAIRS}
        self._held_out = rows(records)

    def measured(self, candidate: Candidate) -> dict[str, Any]:
        """Return what a candidate is and its figures, ready for JSON."""
        scored = {name: self._pair(candidate, *parts) for name, parts in self._folds.items()}
        found = {name: value.to_dict() for name, value in joint_intervals(scored).items()}
        pairs = {name: metrics.value_of(metrics.auroc(1), s.y_true, s.y_score) for name, s in scored.items()}
        about = {"name": candidate.name, "says": candidate.says, "kept": candidate.kept}
        return about | found | {"pairs": pairs} | self._three_classes(candidate)

    def _pair(self, candidate: Candidate, train: IntArray, test: IntArray) -> Scores:
        scores = self._scores(candidate, train, test)
        covid = scores[:, COVID] - scores[:, NORMAL] if scores.shape[1] == len(LABELS) else scores[:, 0]
        records = [self._records[number] for number in test]
        return Scores(
            records=records,
            labels=(Label.NORMAL, Label.COVID),
            y_score=np.stack([-covid, covid], axis=1),
        )

    def _three_classes(self, candidate: Candidate) -> dict[str, Any]:
        """Return figures on held-out patients of the training collections; none for a head of two classes."""
        train, test = self._held_out
        scores = self._scores(candidate, train, test)
        if scores.shape[1] != len(LABELS):
            return {}
        records = [self._records[number] for number in test]
        found = metrics.estimate(
            {"macro_f1": metrics.macro_f1, "covid_auroc": metrics.auroc(COVID)},
            np.array([LABELS.index(record.label) for record in records], np.int64),
            softmax(scores, axis=1),
            np.array([record.group for record in records]),
            seed=SEED,
        )
        return {"held_out": {name: value.to_dict() for name, value in found.items()}}

    def _scores(self, candidate: Candidate, train: IntArray, test: IntArray) -> FloatArray:
        """Fit on some records and score others: float64, shape (n, 3) or (n, 1), see heads.Head."""
        plain, second = (
            np.concatenate([pooled(self._bank[name], layer, candidate.pool) for layer in candidate.layers], axis=1)
            for name in (candidate.variant, candidate.second or candidate.variant)
        )
        records = [self._records[number] for number in train]
        kernel, bias = candidate.fit(features_of(plain[train], second[train], records))
        scores: FloatArray = plain[test].astype(np.float64) @ kernel + bias
        return scores


def pooled(found: dict[str, Values], layer: str, pool: str) -> Values:
    """Return features of a layer, float32 (n, channels), pooled by features.POOLS or by two of them."""
    if pool == "lungs minus outside":
        return found[f"{layer} lungs"] - found[f"{layer} outside"]
    if pool == "instance":
        return (found[f"{layer} lungs"] - found[f"{layer} whole"]) / (found[f"{layer} spread"] + STEADY)
    return found[f"{layer} {pool}"]


def study(records: Sequence[Record], out: Path) -> dict[str, Any]:
    """Measure every candidate.

    Args:
        records: Records of the manifest, without external ones.
        out: Folder of the features.
    """
    extract(records, VARIANTS, out)
    measuring = Study(records, {variant.name: load(records, variant, out) for variant in VARIANTS})
    groups = [
        {"name": name, "candidates": [measuring.measured(one) for one in tqdm(candidates, desc=name, disable=None)]}
        for name, candidates in GROUPS.items()
    ]
    return {"covidcxr": __version__, "manifest": data_hash(records), "images": len(records), "groups": groups}


def main() -> None:
    """Measure every candidate and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the features")
    given = parser.parse_args()
    records = [record for record in read_manifest(given.manifest) if record.split is not Split.EXTERNAL]
    write_json(RESULT, study(records, given.out))


if __name__ == "__main__":
    main()
