"""Reading of the collections: decoded, labelled images, and a table of everything that was left out."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from pathlib import Path

from tqdm import tqdm

from covidcxr._system import cores
from covidcxr.data.duplicates import Fingerprint, fingerprint
from covidcxr.data.manifest import Record, Split, View, read_table, relative_path, write_table
from covidcxr.data.sources import SOURCES, Item, Source
from covidcxr.errors import ImageError, ManifestError
from covidcxr.images.decode import decode_image, read_bytes

logger = logging.getLogger(__name__)

Entry = tuple[Source, Item]
Found = tuple[Record, Fingerprint]

DECISIVE = ("finding", "view")
"""Fields that decide whether and how an image is used: if rows of a file differ in them, none counts."""
CHUNK = 256
"""Images submitted to the decoders at a time, which bounds the memory."""


class RejectReason(StrEnum):
    """Reason why an image is not in the manifest: the first, in this order, that applies."""

    CONTRADICTION = "contradiction"
    """The metadata list the file more than once and contradict themselves."""

    MISSING = "missing"
    """The metadata list a file that does not exist."""
    BROKEN = "broken"
    """The file cannot be read or decoded."""
    VIEW = "view"
    """The projection is lateral, CT, unknown, or not among the requested views."""
    FINDING = "finding"
    """The finding is empty or belongs to none of the classes."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """An image that was left out.

    Attributes:
        source: Name of the collection.
        path: The file; in the CSV, relative to the folder of the manifest.
        reason: Why it was left out.
        detail: Explanation of the reason.
        finding: Finding as published.
        view: Projection.
        patient_id: Patient, as in Record.
    """

    source: str
    path: Path
    reason: RejectReason
    detail: str
    finding: str
    view: View
    patient_id: str


REJECT_COLUMNS = ("source", "path", "reason", "detail", "finding", "view", "patient_id")


def find_collections(root: Path) -> list[Source]:
    """Return the collections whose folders exist under a root.

    Raises:
        ManifestError: There is none; the message names the expected folders.
    """
    found = [source for source in SOURCES.values() if (root / source.folder).is_dir()]
    if not found:
        folders = ", ".join(source.folder for source in SOURCES.values())
        raise ManifestError(f"Expected at least one of the folders {folders} in {root}. Received none of them.")
    return found


def collect(root: Path, views: Collection[View]) -> tuple[list[Found], list[Reject]]:
    """Decode every image of every collection under a root.

    Args:
        root: Folder with the collections in their published layouts.
        views: Projections to keep.

    Returns:
        The kept images, sorted by id, and the rejects, sorted by source and path. Each record is its own group, in the
        split ``train``.

    Raises:
        ManifestError: There is no collection, metadata are missing or unreadable, a collection lists no image, or two
            files have the same id.
    """
    rejects: list[Reject] = []
    entries = [(source, item) for source in find_collections(root) for item in _items(source, root, rejects)]
    read = partial(_read, views=frozenset(views))
    found: list[Found] = []
    with ThreadPoolExecutor(cores()) as pool:
        for result in _in_order(pool, read, entries):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                found.append(result)
    _check_ids(record.id for record, _ in found)
    logger.info("%d images kept, %d left out", len(found), len(rejects))
    return sorted(found, key=lambda each: each[0].id), sorted(rejects, key=lambda r: (r.source, r.path, r.finding))


def _items(source: Source, root: Path, rejects: list[Reject]) -> list[Item]:
    """Read a collection, each file once; rows that contradict an earlier one of the same file become rejects."""
    items: dict[Path, Item] = {}
    unclear = set()
    for item in source.read(root / source.folder):
        first = items.setdefault(item.path, item)
        if item != first:
            detail = _contradiction(first, item)
            rejects.append(_reject(source, item, RejectReason.CONTRADICTION, detail))
            if any(getattr(first, name) != getattr(item, name) for name in DECISIVE):
                unclear.add(item.path)
    if not items:
        raise ManifestError(f"Expected {source.layout} in {root / source.folder}. Received no image.")
    return [item for path, item in items.items() if path not in unclear]


def _contradiction(first: Item, item: Item) -> str:
    names = (*DECISIVE, *(field.name for field in fields(Item) if field.compare))
    name = next(name for name in names if getattr(first, name) != getattr(item, name))
    received = " and ".join(repr(str(getattr(row, name))) for row in (first, item))
    return f"Expected one {name}. Received {received}{'' if name in DECISIVE else '; the first counts'}."


def _in_order(
    pool: ThreadPoolExecutor, read: Callable[[Entry], Found | Reject], entries: Sequence[Entry]
) -> Iterator[Found | Reject]:
    with tqdm(total=len(entries), desc="reading images", unit="img", disable=None) as bar:
        for start in range(0, len(entries), CHUNK):
            for result in pool.map(read, entries[start : start + CHUNK]):
                bar.update()
                yield result


def _read(entry: Entry, *, views: frozenset[View]) -> Found | Reject:
    source, item = entry
    reject = partial(_reject, source, item)
    if not item.path.is_file():
        return reject(RejectReason.MISSING, "Expected a file. Received none.")
    if item.view is View.CT and item.path.name.endswith(".nii.gz"):
        return reject(RejectReason.VIEW, "Expected a frontal radiograph. Received a CT volume.")
    try:
        data = read_bytes(item.path, item.path.name)
        grey = decode_image(data, item.path.name)
    except ImageError as error:
        return reject(RejectReason.BROKEN, str(error))
    if item.view not in views:
        wanted = ", ".join(sorted(views))
        received = item.view.value or (repr(item.published_view) if item.published_view else "an empty view")
        return reject(RejectReason.VIEW, f"Expected a view in {wanted}. Received {received}.")
    label = source.label(item.finding)
    if label is None:
        return reject(RejectReason.FINDING, f"Expected a finding with a class. Received {item.finding or 'none'}.")
    record_id = f"{source.name}/{item.path.name}"
    record = Record(
        id=record_id,
        path=item.path,
        source=source.name,
        origin=item.origin or source.origin,
        patient_id=_patient(source, item),
        finding=item.finding,
        label=label,
        view=item.view,
        age=item.age,
        sex=item.sex,
        licence=item.licence or source.licence,
        sha256=hashlib.sha256(data).hexdigest(),
        width=grey.shape[1],
        height=grey.shape[0],
        group=record_id,
        split=Split.TRAIN,
    )
    return record, fingerprint(grey)


def _reject(source: Source, item: Item, reason: RejectReason, detail: str) -> Reject:
    return Reject(
        source=source.name,
        path=item.path,
        reason=reason,
        detail=detail,
        finding=item.finding,
        view=item.view,
        patient_id=_patient(source, item),
    )


def _patient(source: Source, item: Item) -> str:
    """Return the patient, prefixed with the source; an image without a patient identifier is its own patient."""
    return f"{source.name}:{item.patient_id or f'file {item.path.name}'}"


def _check_ids(ids: Iterable[str]) -> None:
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise ManifestError(f"Expected unique file names in each collection. Received twice: {', '.join(twice[:5])}.")


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write rejects as CSV (UTF-8), with paths relative to the folder of the file."""

    def cells(reject: Reject) -> Iterable[object]:
        row = {name: getattr(reject, name) for name in REJECT_COLUMNS}
        row["path"] = relative_path(reject.path, path)
        return row.values()

    write_table(path, REJECT_COLUMNS, map(cells, rejects))


def read_rejects(path: Path) -> list[Reject]:
    """Read rejects written by write_rejects.

    Raises:
        ManifestError: The file cannot be read; see read_table.
    """

    def reject(row: dict[str, str]) -> Reject:
        return Reject(
            **{name: row[name] for name in ("source", "detail", "finding", "patient_id")},
            path=path.parent / row["path"],
            reason=RejectReason(row["reason"]),
            view=View(row["view"]),
        )

    return read_table(path, REJECT_COLUMNS, reject)
