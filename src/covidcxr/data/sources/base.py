"""What every collection tells about itself, and the helpers that their readers share."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
"""Every spelling of a projection that the collections use, in lower case; axial and coronal are CT reformations."""

_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_NUMBER = re.compile(r"\d+(\.\d+)?")
_MAX_AGE = 120  # years; NIH ChestX-ray14 holds typing errors up to 414


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture as its collection describes it; nothing is checked or decoded yet.

    Attributes:
        path: Where the picture should lie.
        patient_id: Identifier of the patient within the collection; where none is published, of the picture.
        finding: The finding as published, word for word; empty where the collection gives none.
        view: Projection; UNKNOWN where the collection gives none.
        age: Years, None where not published as a plain number.
        sex: ``M``, ``F`` or empty.
        licence: Licence of this picture.
        origin: Where the picture was taken as far as that is published; see Record.
    """

    path: Path
    patient_id: str
    finding: str
    view: View
    age: float | None
    sex: str
    licence: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class GitHubArchive:
    """A repository as a zip file at one commit.

    Attributes:
        repo: ``owner/name``.
        commit: 40 hex digits.
        content: Files whose content is pinned: path in the repository to its sha256 (hex). GitHub makes archives on
            demand and does not promise their bytes, so what is pinned lies inside.
        sha256: Hash of the whole zip file (hex) where it is known, for instance for a mirror; else empty.
    """

    repo: str
    commit: str
    content: Mapping[str, str]
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class KaggleDataset:
    """A Kaggle data set, fetched with the user's own credentials.

    Attributes:
        handle: ``owner/name/versions/number``, so that the same files come every time.
        folder: Folder inside the data set that becomes the source's folder; empty for the whole.
    """

    handle: str
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One public collection.

    Attributes:
        name: Short name, the key in SOURCES.
        folder: Folder under the data root, laid out as published.
        title: Name that the publisher gives it.
        homepage: Where it is published.
        licence: Licence of the collection; single pictures may differ, see Item.
        citation: What its authors ask to be cited.
        download: How a user fetches it.
        findings: Every finding that stands for a class; what is not listed is left out and counted.
        read: Yields every picture that the collection lists or holds, given its folder.
        separator: Between the findings where a picture has a list of them; the first that stands for a disease decides.
        external: Whether it is an external test set, never trained on or tuned on.
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
    separator: str | None = None
    external: bool = False

    def label(self, finding: str) -> Label | None:
        """Return the class that a published finding stands for, None if it is left out."""
        if finding in self.findings or self.separator is None:
            return self.findings.get(finding)
        listed = [self.findings.get(part) for part in finding.split(self.separator)]
        return next((label for label in listed if label not in (None, Label.NORMAL)), None)


def read_rows(path: Path, columns: Sequence[str], *, encoding: str = "utf-8-sig") -> list[dict[str, str]]:
    """Read a metadata table, tolerant of spaces and letter case in its header.

    Args:
        path: CSV file.
        columns: Names in lower case of the columns that must be there.
        encoding: Of the file; ``utf-8-sig`` reads UTF-8 with and without a byte order mark.

    Returns:
        One dict a row with stripped values, keys in lower case; cells missing at the end of a row are empty.

    Raises:
        ManifestError: The file is missing, is not in this encoding, or lacks a column; the message names it.
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
    """Return the projection that the text names, UNKNOWN for any text that no collection is known to use.

    Example:
        >>> parse_view("ap supine") is View.AP_SUPINE, parse_view("probably PA") is View.UNKNOWN
        (True, True)
    """
    return _VIEWS.get(text.lower(), View.UNKNOWN)


def parse_age(text: str) -> float | None:
    """Return an age in years if the text is a plain number up to 120, else None: nothing is guessed.

    Example:
        >>> parse_age("65"), parse_age("50+"), parse_age("411")
        (65.0, None, None)
    """
    if not _NUMBER.fullmatch(text):
        return None
    age = float(text)
    return age if age <= _MAX_AGE else None


def parse_sex(text: str) -> str:
    """Return ``M``, ``F`` or, for anything else, an empty string."""
    return _SEXES.get(text.lower(), "")


def unlisted(folder: Path, listed: set[Path], *, patient_prefix: str, licence: str, origin: str) -> Iterator[Item]:
    """Yield the files of a folder that its metadata do not list: they have no finding and no view."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and path not in listed and not path.name.startswith("."):
            yield Item(
                path=path,
                patient_id=f"{patient_prefix}{path.stem}",
                finding="",
                view=View.UNKNOWN,
                age=None,
                sex="",
                licence=licence,
                origin=origin,
            )
