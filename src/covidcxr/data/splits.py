"""Splits into training and test data: by whole groups, stratified, seeded."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from covidcxr.data.manifest import Record, Split
from covidcxr.errors import ManifestError


def grouped_split(
    records: Sequence[Record], *, test_share_folds: int = 5, seed: int
) -> tuple[list[Record], list[Record]]:
    """Split records in two without dividing a group, stratified by source and label.

    Args:
        records: Records in any order; the result does not depend on it.
        test_share_folds: Denominator of the share of the second part: 5 for about one fifth.
        seed: Seed of the split.

    Returns:
        The larger and the smaller part, each sorted by id.

    Raises:
        ManifestError: A class has fewer groups than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    ordered = sorted(records, key=lambda record: record.id)
    groups = [record.group for record in ordered]
    labels = [str(record.label) for record in ordered]
    for label in sorted(set(labels)):
        patients = len({record.group for record in ordered if record.label == label})
        if patients < test_share_folds:
            raise ManifestError(f"Expected at least {test_share_folds} patients of {label}. Received {patients}.")
    strata = [f"{record.source} {record.label}" for record in ordered]
    if max(Counter(strata).values()) < test_share_folds:  # scikit-learn refuses to stratify by them
        strata = labels
    folds = StratifiedGroupKFold(test_share_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # small collections have few
        large, small = next(folds.split(np.zeros(len(ordered)), strata, groups))
    return [ordered[i] for i in large], [ordered[i] for i in small]


def assign_splits(
    records: Sequence[Record], *, external_sources: Iterable[str], seed: int
) -> tuple[list[Record], list[Record]]:
    """Assign a split to every record: external groups, and of the rest four fifths train and one fifth test.

    Args:
        records: Records with groups; their splits are replaced.
        external_sources: Names of the collections that are external test sets.
        seed: Seed of the split.

    Returns:
        All records sorted by id, and those that are external only because they share a patient or an image with an
        external collection.

    Raises:
        ManifestError: There are too few groups.
    """
    sources = set(external_sources)
    outside = {record.group for record in records if record.source in sources}
    external = [replace(record, split=Split.EXTERNAL) for record in records if record.group in outside]
    rest = [record for record in records if record.group not in outside]
    train, test = grouped_split(rest, seed=seed) if rest else ([], [])
    assigned = external + [replace(r, split=Split.TRAIN) for r in train] + [replace(r, split=Split.TEST) for r in test]
    drawn_in = [record for record in external if record.source not in sources]
    return sorted(assigned, key=lambda r: r.id), sorted(drawn_in, key=lambda r: r.id)


def check_leakage(*parts: Sequence[Record]) -> None:
    """Check that no two parts share a group, a patient or a file.

    Raises:
        ManifestError: Two parts do; the message names one shared value.
    """
    for name in ("group", "patient_id", "sha256"):
        seen: dict[str, int] = {}
        for number, part in enumerate(parts):
            for record in part:
                if seen.setdefault(getattr(record, name), number) != number:
                    raise ManifestError(
                        f"Expected parts without a common {name}. Received {getattr(record, name)!r} in two parts, in "
                        f"one of them with record {record.id!r}."
                    )
