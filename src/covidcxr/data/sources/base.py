"""Description of a collection, and helpers that the readers of the collections share."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.errors import ManifestError
from covidcxr.labels import Label

NOT_STATED = "not stated"

_VIEWS = {
    "pa": View.PA,
    "ap": View.AP,
    "ap erect": View.AP,
    "ap supine": View.AP_SUPINE,
    "l": View.LATERAL,
    "axial": View.CT,
    "coronal": View.CT,
}
"""Spellings of projections in the collections, in lower case; axial and coronal are CT reformations."""

_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_NUMBER = re.compile(r"\d+(\.\d+)?")
_MAX_AGE = 120  # years; NIH ChestX-ray14 has typing errors up to 414


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image as its collection describes it, neither checked nor decoded yet.

    Attributes:
        path: Expected location of the file.
        patient_id: Identifier of the patient within the collection; that of the image if no patient is published.
        finding: Finding as published, word for word; empty if there is none.
        view: Projection; UNKNOWN if there is none.
        published_view: Projection as published, word for word; empty if there is none.
        age: Age in years; None if it is not published as a plain number.
        sex: ``M``, ``F`` or empty.
        licence: Licence of this image; empty for that of the collection.
        origin: Where the image was taken, see Record; empty for the origin of the collection.
    """

    path: Path
    patient_id: str
    finding: str
    view: View = View.UNKNOWN
    age: float | None = None
    sex: str = ""
    licence: str = ""
    origin: str = ""
    published_view: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class GitHubArchive:
    """Zip file of a GitHub repository at one commit.

    Attributes:
        repo: ``owner/name``.
        commit: 40 hex digits.
        content: Path in the repository to sha256 (hex) of the files that are checked. They are checked one by one
            because GitHub builds archives on demand and does not promise their bytes.
        sha256: sha256 (hex) of the zip file if it is known, for instance on a mirror; else empty.
    """

    repo: str
    commit: str
    content: Mapping[str, str]
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class KaggleDataset:
    """Kaggle data set, downloaded with the user's own credentials.

    Attributes:
        handle: ``owner/name/versions/number``; the version pins the files.
        folder: Folder of the data set that becomes the folder of the source; empty for the whole data set.
    """

    handle: str
    folder: str = ""


class Role(StrEnum):
    """Role of a collection in training and evaluation."""

    TRAINING = "training"
    """Training and internal test data only."""
    COVID = "covid"
    """In addition, the COVID-19 side of the pairs of the protocol unseen-hospitals."""
    NORMAL = "normal"
    """In addition, the normal side of these pairs."""
    EXTERNAL = "external"
    """External test set, never used for training or tuning."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public collection.

    Attributes:
        name: Short name, the key in SOURCES.
        folder: Folder under the data root, laid out as published.
        title: Title given by the publisher.
        homepage: Address of the publication.
        licence: Licence of the collection; that of single images may differ, see Item.
        citation: Citation requested by the authors.
        download: Where a user downloads it.
        findings: Class of every finding that belongs to one; other findings are left out and counted.
        read: Yields every image that the collection lists or contains, given its folder.
        layout: Files that ``read`` looks for in the folder.
        separator: Separator of the findings if an image has a list of them; the first that is a disease decides.
        role: Role in training and evaluation.
        children: Whether all patients are children, even where no age is published.
        own_origin: Origin of the images that it published first, if that is not its name; see Record.
    """

    name: str
    folder: str
    title: str
    homepage: str
    licence: str
    citation: str
    download: GitHubArchive | KaggleDataset
    findings: Mapping[str, Label]
    read: Callable[[Path], Iterator[Item]]
    layout: str = "metadata.csv"
    separator: str | None = None
    role: Role = Role.TRAINING
    children: bool = False
    own_origin: str = ""

    @property
    def origin(self) -> str:
        """Origin of the images that it published first."""
        return self.own_origin or self.name

    @property
    def external(self) -> bool:
        """Whether it is an external test set."""
        return self.role is Role.EXTERNAL

    def label(self, finding: str) -> Label | None:
        """Return the class of a published finding; None if it belongs to no class."""
        if finding in self.findings or self.separator is None:
            return self.findings.get(finding)
        listed = [self.findings.get(part) for part in finding.split(self.separator)]
        return next((label for label in listed if label not in (None, Label.NORMAL)), None)


def read_rows(path: Path, columns: Sequence[str], *, encoding: str = "utf-8-sig") -> list[dict[str, str]]:
    """Read a metadata table, ignoring spaces and letter case in its header.

    Args:
        path: CSV file.
        columns: Required columns, in lower case.
        encoding: Encoding of the file; ``utf-8-sig`` reads UTF-8 with and without a byte order mark.

    Returns:
        One dict per row, with stripped values and keys in lower case; cells missing at the end of a row are empty.

    Raises:
        ManifestError: The file is missing, has another encoding, or lacks a column; the message names it.
    """
    try:
        with path.open(newline="", encoding=encoding) as file:
            table = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"Expected a CSV file in {encoding} at {path}. Received: {error}") from error
    header = [name.strip().lower() for name in table[0]] if table else []
    missing = set(columns) - set(header)
    if missing:
        raise ManifestError(f"Expected the columns {', '.join(columns)} in {path}. Received none: {sorted(missing)}.")
    return [_row(header, cells) for cells in table[1:] if any(cells)]


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    padded = cells + [""] * (len(header) - len(cells))
    return {name: cell.strip() for name, cell in zip(header, padded, strict=False)}


def parse_view(text: str) -> View:
    """Return the projection that a text names; UNKNOWN for a spelling that no collection uses.

    Example:
        >>> parse_view("ap supine") is View.AP_SUPINE, parse_view("probably PA") is View.UNKNOWN
        (True, True)
    """
    return _VIEWS.get(text.lower(), View.UNKNOWN)


def parse_age(text: str) -> float | None:
    """Return an age in years if the text is a plain number up to 120, else None.

    Example:
        >>> parse_age("65"), parse_age("50+"), parse_age("411")
        (65.0, None, None)
    """
    if not _NUMBER.fullmatch(text):
        return None
    age = float(text)
    return age if age <= _MAX_AGE else None


def parse_sex(text: str) -> str:
    """Return ``M`` or ``F``, or an empty string for any other text."""
    return _SEXES.get(text.lower(), "")


def unlisted(folder: Path, listed: set[Path], *, licence: str = "") -> Iterator[Item]:
    """Yield the files of a folder that its metadata do not list, without finding and view."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and path not in listed and not path.name.startswith("."):
            yield Item(path=path, patient_id=f"file {path.stem}", finding="", licence=licence)
