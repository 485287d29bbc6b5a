"""Build of a manifest from collections on disk: collect, group, split."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from covidcxr.data.collect import Picture, Reject, collect
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
    pictures, rejects = collect(root, views)
    ids = [picture.id for picture in pictures]
    pairs = find_duplicates(ids, [picture.fingerprint for picture in pictures])
    patients, hashes = [picture.patient_id for picture in pictures], [picture.sha256 for picture in pictures]
    groups = group_ids(ids, patients, hashes, pairs)
    unsplit = [_record(picture, group) for picture, group in zip(pictures, groups, strict=True)]
    external = [source.name for source in SOURCES.values() if source.external]
    records, drawn_in = assign_splits(unsplit, external_sources=external, seed=seed)
    check_leakage(*([record for record in records if record.split is split] for split in Split))
    return Build(records=records, rejects=rejects, duplicates=pairs, drawn_in=drawn_in)


def _record(picture: Picture, group: str) -> Record:
    item = picture.item
    return Record(
        id=picture.id,
        path=item.path,
        source=picture.source,
        origin=item.origin,
        patient_id=picture.patient_id,
        finding=item.finding,
        label=picture.label,
        view=item.view,
        age=item.age,
        sex=item.sex,
        licence=item.licence,
        sha256=picture.sha256,
        width=picture.width,
        height=picture.height,
        group=group,
        split=Split.TRAIN,
    )
