"""De-identification of images by the Basic Application Level Confidentiality Profile (PS3.15 annex E).

Only the table of the profile, 620 attributes and their actions, comes from dicom-anonymizer. Its own processing ignores
nested data sets, moves dates to the year 1, draws new UIDs in every process, and does not record the method in the
object. Here nested data sets are treated like the outer one, UIDs, dates and pseudonyms are derived from a key, and the
object records the method.
"""

import hmac
import secrets
import uuid
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

import pydicom
from dicomanonymizer.dicomfields_selector import (
    dicom_anonymization_database_selector,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DT

from covidcxr._files import whole
from covidcxr.errors import ImageError

EDITION: Final = "dicomfields_2024b"
"""Edition of the table."""
METHODS: Final = (
    Code("113100", "DCM", "Basic Application Confidentiality Profile"),
    Code("113107", "DCM", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""Methods recorded in the object (PS3.16 CID 7050)."""
MAX_SHIFT_DAYS: Final = 3650
KEY_BYTES: Final = 32
DUMMY_TEXT: Final = "REMOVED"


class Action(Enum):
    """Action of the profile; where it allows several, the one that keeps more objects valid.

    X/Z/U* applies to two sequences of references, which are kept, with the UIDs in their items replaced.
    """

    REMOVE = ("X_TAGS",)
    EMPTY = ("Z_TAGS", "X_Z_TAGS")
    DUMMY = ("D_TAGS", "Z_D_TAGS", "X_D_TAGS", "X_Z_D_TAGS")
    UID = ("U_TAGS",)


_BIRTH = frozenset({"PatientBirthDate", "PatientBirthTime"})
_DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"), DUMMY_TEXT),
    **dict.fromkeys(("DS", "IS", "US", "FD", "FL", "SL", "SS", "UL"), 0),
    **dict.fromkeys(("OB", "OW", "UN"), b"\0\0"),
    "AS": "000D",
    "TM": "000000",
    "UR": "urn:removed",
}


class Deidentifier:
    """Replaces everything that identifies a patient; the same key gives the same replacements.

    Args:
        key: Secret of KEY_BYTES or more. Whoever has it can link an object to its original.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"Expected a key of at least {KEY_BYTES} bytes. Received {len(key)}.")
        self._key = key

    def __call__(self, ds: Dataset) -> Dataset:
        """Return a de-identified copy of an image, with unchanged pixels.

        Args:
            ds: Image with its file_meta; it is not changed.

        Raises:
            ImageError: The object is no image, or it states that annotations are burnt into its pixels.
        """
        if "PixelData" not in ds:
            raise ImageError("Expected an image. Received a DICOM object without PixelData.")
        if ds.get("BurnedInAnnotation") == "YES":
            raise ImageError("Expected an image without burnt-in annotations. Received BurnedInAnnotation YES.")
        patient = str(ds.get("PatientID") or ds.get("PatientName") or ds.get("StudyInstanceUID", ""))
        made = self._copy(ds, patient)
        made.PatientID = made.PatientName = self.pseudonym(patient)
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = "covidcxr: PS3.15 basic profile; dates shifted"
        made.DeidentificationMethodCodeSequence = Sequence(map(_code_item, METHODS))
        made.LongitudinalTemporalInformationModified = "MODIFIED"
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        return made

    def uid(self, value: str) -> str:
        """Return the replacement of a UID, the same in all objects (UUID-derived, PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', value)[:16], version=5).int}"

    def pseudonym(self, patient: str) -> str:
        """Return the replacement of a patient's name and ID."""
        return f"P{self._digest('patient', patient).hex()[:12].upper()}"

    def shift(self, patient: str) -> timedelta:
        """Return the shift of all dates of a patient: 1 to MAX_SHIFT_DAYS back."""
        return timedelta(days=-1 - int.from_bytes(self._digest("shift", patient)[:8], "big") % MAX_SHIFT_DAYS)

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{kind} {value}".encode(), "sha256")

    def _copy(self, ds: Dataset, patient: str) -> Dataset:
        made = Dataset()
        for element in ds:
            if not element.tag.is_private and (kept := self._element(element, patient)) is not None:
                made.add(kept)
        return made

    def _element(self, element: DataElement, patient: str) -> DataElement | None:
        """Return the replacement of one attribute; None removes it."""
        action = _action(element.tag.group, element.tag.element)
        if action is Action.REMOVE and element.VR not in ("DA", "DT"):
            return None
        if element.VR == "SQ":
            empty = action in (Action.EMPTY, Action.DUMMY)
            items = [] if empty else [self._copy(item, patient) for item in element.value]
            return DataElement(element.tag, "SQ", Sequence(items))
        if element.keyword in _BIRTH:
            return DataElement(element.tag, element.VR, "")
        if element.VR in ("DA", "DT"):
            return DataElement(element.tag, element.VR, self._shifted(element, patient))
        if action is Action.UID:
            return DataElement(element.tag, element.VR, _each(element.value, self.uid))
        if action is Action.EMPTY and element.VR != "TM":
            return DataElement(element.tag, element.VR, "" if element.VR not in ("OB", "UN", "US") else None)
        if action is Action.DUMMY and element.VR != "TM":
            dummy = self.pseudonym(patient) if element.VR == "PN" else _DUMMIES.get(element.VR, self._unknown(element))
            return DataElement(element.tag, element.VR, dummy)
        return element

    def _unknown(self, element: DataElement) -> Any:  # noqa: ANN401 - a value of any attribute
        return _each(element.value, self.uid) if element.VR == "UI" else None

    def _shifted(self, element: DataElement, patient: str) -> Any:  # noqa: ANN401 - a value of any attribute
        """Shift dates; an invalid date becomes empty."""
        kind: Any = DA if element.VR == "DA" else DT

        def move(value: object) -> str:
            try:
                moved = kind(str(value)) + self.shift(patient)
            except (ValueError, TypeError, OverflowError):
                return ""
            return f"{moved:%Y%m%d}" if element.VR == "DA" else f"{moved:%Y%m%d%H%M%S}"

        return _each(element.value, move) if element.value else ""


def read_key(path: Path) -> bytes:
    """Return the key in a file; a missing file is created with a random key, readable by its owner only.

    Raises:
        ValueError: The key is shorter than KEY_BYTES.
    """
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(f"Expected a key of at least {KEY_BYTES} bytes. Received {path} with {len(key)}.")
    return key


def deidentify_file(source: Path, folder: Path, deidentifier: Deidentifier) -> Path:
    """Write the de-identified copy of a file into a folder, named by its new SOPInstanceUID.

    Raises:
        ImageError: The file is no image that can be de-identified; the message quotes nothing from it.
    """
    try:
        made = deidentifier(pydicom.dcmread(source))
        target = folder / f"{made.SOPInstanceUID}.dcm"
        with whole(target) as partial:
            made.save_as(partial, enforce_file_format=True)
    except ImageError:
        raise
    except Exception as error:  # pydicom raises anything, and its messages may quote a name
        raise ImageError(
            f"Expected a DICOM image. Received one that cannot be read: {type(error).__name__}."
        ) from error
    return target


@cache
def _actions() -> tuple[dict[tuple[int, int], Action], tuple[tuple[tuple[int, int, int, int], Action], ...]]:
    """Return actions by tag and, for repeating groups, by group, element and the masks of both."""
    table: dict[str, Iterable[tuple[int, ...]]] = dicom_anonymization_database_selector(EDITION)
    rows = [(tag, action) for action in Action for name in action.value for tag in table[name]]
    masks = tuple(((t[0], t[1], t[2], t[3]), action) for t, action in rows if len(t) == 4)
    return {(tag[0], tag[1]): action for tag, action in rows if len(tag) == 2}, masks


def _action(group: int, element: int) -> Action | None:
    """Return the profile's action for one attribute; None if the profile does not list it."""
    single, masks = _actions()
    for (g, e, g_mask, e_mask), action in masks:
        if group & g_mask == g & g_mask and element & e_mask == e & e_mask:
            return action
    return single.get((group, element))


def _each(value: Any, change: Any) -> Any:  # noqa: ANN401 - a value of any attribute
    if isinstance(value, pydicom.multival.MultiValue):
        return [change(part) for part in value]
    return change(str(value)) if value else ""


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
