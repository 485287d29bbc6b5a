"""Which record is for training, which for testing: whole groups, stratified, the same for the same seed."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from covidcxr.data.manifest import Record, Split
from covidcxr.errors import ManifestError


def grouped_split(
    records: Sequence[Record], *, test_share_folds: int = 5, seed: int
) -> tuple[list[Record], list[Record]]:
    """Split records in two, never cutting a group, stratified by source and label.

    Args:
        records: In any order; the outcome does not depend on it.
        test_share_folds: 5 puts about one fifth into the second part.
        seed: Decides which; the same seed gives the same split.

    Returns:
        The larger and the smaller part, each sorted by id.

    Raises:
        ManifestError: There are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    ordered = sorted(records, key=lambda record: record.id)
    groups = [record.group for record in ordered]
    if len(set(groups)) < test_share_folds:
        raise ManifestError(f"Expected at least {test_share_folds} groups to split. Received {len(set(groups))}.")
    strata = [f"{record.source} {record.label}" for record in ordered]
    folds = StratifiedGroupKFold(test_share_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # small collections have few
        large, small = next(folds.split(np.zeros(len(ordered)), strata, groups))
    return [ordered[i] for i in large], [ordered[i] for i in small]


def assign_splits(
    records: Sequence[Record], *, external_sources: Iterable[str], seed: int
) -> tuple[list[Record], list[Record]]:
    """Give every record its split: external groups first, of the rest four fifths train and one fifth test.

    Args:
        records: With groups; the splits they have are replaced.
        external_sources: Names of the collections that are external test sets.
        seed: Of the split.

    Returns:
        All records sorted by id, and those among them that are external only because they share a patient or a picture
        with an external collection.

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
        ManifestError: Two do; the message names what they share.
    """
    for name in ("group", "patient_id", "sha256"):
        seen: dict[str, int] = {}
        for number, part in enumerate(parts):
            for record in part:
                if seen.setdefault(getattr(record, name), number) != number:
                    raise ManifestError(
                        f"Expected parts that share no {name}. Received {getattr(record, name)!r} in two, in one of "
                        f"them as record {record.id!r}."
                    )
