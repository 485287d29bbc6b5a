"""Folds of unseen-hospitals: for every pair of a COVID-19 and a normal origin, what to train and what to test on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from covidcxr.data.manifest import Record, Split
from covidcxr.data.sources import Role, origins
from covidcxr.data.splits import check_leakage
from covidcxr.errors import ManifestError
from covidcxr.labels import Label

COVID_ORIGINS, NORMAL_ORIGINS = origins(Role.COVID), origins(Role.NORMAL)
"""Origins, not publishers: the Radiography database copied its normal images from other collections."""


@dataclass(frozen=True)
class Pair:
    """Two origins that are left out of training and tested on."""

    covid: str
    normal: str

    @property
    def name(self) -> str:
        """Name for files."""
        return f"{self.covid}--{self.normal}"


PAIRS = tuple(Pair(covid, normal) for covid in COVID_ORIGINS for normal in NORMAL_ORIGINS)


def fold(records: Sequence[Record], pair: Pair) -> list[Record]:
    """Split the records for a pair: its COVID-19 and normal images into test, all that is unrelated into train.

    Training leaves out every record of either origin, whatever its class, and every record that shares a patient or a
    near-duplicate with a test record. The splits of the manifest do not matter, except that external records are in
    neither part.

    Args:
        records: The manifest.
        pair: The origins to leave out.

    Raises:
        ManifestError: A class of the pair has no record.
    """
    internal = [record for record in records if record.split is not Split.EXTERNAL]
    test = [replace(record, split=Split.TEST) for record in internal if _tested(record, pair)]
    if {record.label for record in test} != {Label.COVID, Label.NORMAL}:
        raise ManifestError(
            f"Expected COVID-19 records of {pair.covid} and normal ones of {pair.normal} for unseen-hospitals. "
            f"Received {len(test)} records of at most one of the two."
        )
    known = {record.group for record in test}
    train = [
        replace(record, split=Split.TRAIN)
        for record in internal
        if record.origin not in (pair.covid, pair.normal) and record.group not in known
    ]
    check_leakage(train, test)
    return train + test


def _tested(record: Record, pair: Pair) -> bool:
    return (record.origin, record.label) in ((pair.covid, Label.COVID), (pair.normal, Label.NORMAL))
