"""Build of a manifest from collections on disk: collect, group, split."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from covidcxr.data.collect import Reject, collect
from covidcxr.data.duplicates import DuplicatePair, find_duplicates, group_ids
from covidcxr.data.manifest import Record, Split, View
from covidcxr.data.sources import SOURCES
from covidcxr.data.splits import assign_splits, check_leakage


@dataclass(frozen=True, kw_only=True)
class Build:
    """Result of a build.

    Attributes:
        records: Usable images, sorted by id.
        rejects: All other images.
        duplicates: Pairs of records that show the same radiograph.
        drawn_in: Records that are external only because they share a patient or an image with an external collection.
    """

    records: list[Record]
    rejects: list[Reject]
    duplicates: list[DuplicatePair]
    drawn_in: list[Record]


def build(root: Path, *, views: Collection[View], seed: int) -> Build:
    """Read every collection under a root.

    Args:
        root: Folder with the collections in their published layouts.
        views: Projections to keep.
        seed: Seed of the split.

    Raises:
        ManifestError: There is no collection, metadata are broken, or too little is left to split.
    """
    found, rejects = collect(root, views)
    records = [record for record, _ in found]
    ids = [record.id for record in records]
    pairs = find_duplicates(ids, [fingerprint for _, fingerprint in found])
    groups = group_ids(ids, [record.patient_id for record in records], [record.sha256 for record in records], pairs)
    grouped = [replace(record, group=group) for record, group in zip(records, groups, strict=True)]
    external = [source.name for source in SOURCES.values() if source.external]
    records, drawn_in = assign_splits(grouped, external_sources=external, seed=seed)
    check_leakage(*([record for record in records if record.split is split] for split in Split))
    return Build(records=records, rejects=rejects, duplicates=pairs, drawn_in=drawn_in)
