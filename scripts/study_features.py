"""What was tried to hold in hospitals never seen, all of it alike: protocol P3 on features of a frozen network.

    python scripts/study_features.py --manifest reproduced/manifest.csv --out reproduced/features

Writes docs/results/experiments.json; `make docs` puts its figures into docs/experiments.md. Features are kept in the
folder ``--out``: stopped, the same command goes on. The external hospital takes no part.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from study_candidates import GROUPS, Candidate, Group
from study_network import Values, extract, load
from study_pictures import VARIANTS
from tqdm import tqdm

from covidcxr import __version__
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
"""Added to the standard deviation of a feature over an image, many of which are near 0."""

Bank = dict[str, dict[str, Values]]
"""Features by variant, then by ``layer pool``; see study_network.load."""


class Study:
    """All records with their features.

    Args:
        records: Of the manifest, without external ones.
        bank: Their features, in the same order.
    """

    def __init__(self, records: Sequence[Record], bank: Bank) -> None:
        self._records, self._bank = list(records), bank
        place = {record.id: number for number, record in enumerate(records)}
        self._folds = {}
        for pair in PAIRS:
            parts = fold(records, pair)
            self._folds[pair.name] = tuple(
                np.array([place[record.id] for record in parts if record.split is split])
                for split in (Split.TRAIN, Split.TEST)
            )

    def measured(self, candidate: Candidate) -> dict[str, Any]:
        """Return what a candidate is and its figures, ready for JSON."""
        scored = {name: self._pair(candidate, *parts) for name, parts in self._folds.items()}
        found = {name: value.to_dict() for name, value in joint_intervals(scored).items()}
        pairs = {name: metrics.auroc(1)(s.y_true, s.y_score, np.ones(len(s.y_true))) for name, s in scored.items()}
        about = {"name": candidate.name, "says": candidate.says, "kept": candidate.kept}
        return about | found | {"pairs": pairs} | self._p5(candidate)

    def _pair(self, candidate: Candidate, train: IntArray, test: IntArray) -> Scores:
        scores = self._scores(candidate, train, test)
        covid = scores[:, COVID] - scores[:, NORMAL] if scores.shape[1] == len(LABELS) else scores[:, 0]
        records = [self._records[number] for number in test]
        return Scores(
            records=records,
            labels=(Label.NORMAL, Label.COVID),
            y_true=np.array([record.label is Label.COVID for record in records], np.int64),
            y_score=np.stack([-covid, covid], axis=1),
            groups=np.array([record.group for record in records]),
        )

    def _p5(self, candidate: Candidate) -> dict[str, Any]:
        """Return figures on held-out patients of the training collections; none for a head of two classes."""
        train, test = (
            np.array([number for number, record in enumerate(self._records) if record.split is split])
            for split in (Split.TRAIN, Split.TEST)
        )
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
        return {"p5": {name: value.to_dict() for name, value in found.items()}}

    def _scores(self, candidate: Candidate, train: IntArray, test: IntArray) -> FloatArray:
        """Fit on some records and score others: float64, shape (n, 3) or (n, 1), see study_heads.Head."""
        plain, second = (self._features(candidate, name) for name in (candidate.variant, candidate.second))
        records = [self._records[number] for number in train]
        kernel, bias = candidate.fit(features_of(plain[train], second[train], records))
        scores: FloatArray = plain[test].astype(np.float64) @ kernel + bias
        return scores

    def _features(self, candidate: Candidate, variant: str) -> Values:
        found = self._bank[variant]
        return np.concatenate([_pooled(found, layer, candidate.pool) for layer in candidate.layers], axis=1)


def _pooled(found: dict[str, Values], layer: str, pool: str) -> Values:
    """Return features of a layer, float32 (n, channels), pooled by study_network.POOLS or by two of them."""
    if pool == "lungs minus outside":
        return found[f"{layer} lungs"] - found[f"{layer} outside"]
    if pool == "instance":
        return (found[f"{layer} lungs"] - found[f"{layer} whole"]) / (found[f"{layer} spread"] + STEADY)
    return found[f"{layer} {pool}"]


def study(records: Sequence[Record], out: Path) -> dict[str, Any]:
    """Measure every candidate.

    Args:
        records: Of the manifest, without external ones.
        out: Folder of the features.
    """
    extract(records, VARIANTS, out)
    measuring = Study(records, {variant.name: load(records, variant, out) for variant in VARIANTS})
    with tqdm(total=sum(len(group.candidates) for group in GROUPS), unit="candidate", disable=None) as bar:

        def measured(group: Group) -> list[dict[str, Any]]:
            rows = []
            for candidate in group.candidates:
                rows.append(measuring.measured(candidate))
                bar.update()
            return rows

        groups = [{"name": group.name, "candidates": measured(group)} for group in GROUPS]
    return {"covidcxr": __version__, "manifest": data_hash(records), "images": len(records), "groups": groups}


def main() -> None:
    """Measure every candidate and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the features")
    given = parser.parse_args()
    records = [record for record in read_manifest(given.manifest) if record.split is not Split.EXTERNAL]
    RESULT.write_text(json.dumps(study(records, given.out), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
