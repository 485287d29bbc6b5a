"""Write the tables of docs/conformance.md from the code; a test fails while they are out of date.

Each block between ``<!-- conformance: NAME -->`` and ``<!-- end -->`` is replaced by the table of that name.
"""

import re
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ComputedRadiographyImageStorage

from covidcxr.dicom.deidentify import METHODS
from covidcxr.dicom.node.eligibility import (
    CAPTURED_MODALITIES,
    CHEST_WORDS,
    FRONTAL,
    MODALITIES,
    NOT_A_CHEST,
    SOP_CLASSES,
    SkipReason,
)
from covidcxr.dicom.node.peer import RESULT_CLASSES, RESULT_SYNTAXES, TIMEOUT_S
from covidcxr.dicom.node.queue import MAX_RETRY_DELAY_S
from covidcxr.dicom.node.server import (
    ACSE_TIMEOUT_S,
    MAX_PDU_BYTES,
    NETWORK_TIMEOUT_S,
    STATUSES,
    TRANSFER_SYNTAXES,
    NodeSettings,
)
from covidcxr.dicom.results import codes
from covidcxr.dicom.results.header import IDENTITY, OPTIONAL, PATIENT_AND_STUDY
from covidcxr.dicom.results.report import results
from covidcxr.labels import LABELS
from covidcxr.prediction.predictor import ActivationMap, Prediction

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
BLOCK = re.compile(r"(<!-- conformance: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
GREY = np.arange(128 * 128, dtype=np.uint16).reshape(128, 128) % 256
FROM_IMAGE = {*PATIENT_AND_STUDY, *OPTIONAL, "StudyInstanceUID"}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def received() -> str:
    """Return the table of SOP classes that the node receives."""
    rows = [["Verification", "1.2.840.10008.1.1", "SCP"]]
    return table(["SOP class", "UID", "role"], rows + [[uid.name, str(uid), "SCP"] for uid in SOP_CLASSES])


def sent() -> str:
    """Return the table of SOP classes of results."""
    return table(["SOP class", "UID", "role"], [[uid.name, str(uid), "SCU"] for uid in RESULT_CLASSES])


def syntaxes() -> str:
    """Return the table of transfer syntaxes by role."""
    every = dict.fromkeys([*TRANSFER_SYNTAXES, *RESULT_SYNTAXES])
    rows = [
        [uid.name, str(uid), "yes" if uid in TRANSFER_SYNTAXES else "", "yes" if uid in RESULT_SYNTAXES else ""]
        for uid in every
    ]
    return table(["transfer syntax", "UID", "received", "sent"], rows)


def statuses() -> str:
    """Return the table of answers to C-STORE."""
    return table(["status", "when"], [[f"{status:04X}", text] for status, text in STATUSES.items()])


def selection() -> str:
    """Return the table of conditions for scoring."""
    rows = [
        ["SOPClassUID", "one of section 1", SkipReason.SOP_CLASS],
        ["Manufacturer", "not covidcxr", SkipReason.OWN_RESULT],
        ["Modality", ", ".join(sorted(MODALITIES)), SkipReason.MODALITY],
        [
            "Modality of a Secondary Capture",
            ", ".join(sorted(CAPTURED_MODALITIES - {""})) + ", or empty",
            SkipReason.MODALITY,
        ],
        ["BodyPartExamined", f"contains {' or '.join(CHEST_WORDS)}, or empty", SkipReason.BODY_PART],
        ["ViewPosition", f"{', '.join(sorted(FRONTAL))}, or empty", SkipReason.VIEW],
        ["NumberOfFrames", "1, or empty", SkipReason.FRAMES],
        ["the pixels", f"none of the flags {', '.join(sorted(NOT_A_CHEST))}", SkipReason.GATE],
    ]
    return table(["attribute", "condition for scoring", "otherwise skipped; reason in the log"], rows)


def attributes() -> str:
    """Return the table of attributes, taken from the results of a drawn image."""
    made = results(_image(), _prediction(), GREY.astype(np.uint8))
    rows = []
    tags = sorted({element.tag for result in made for element in result})
    for tag in tags:
        element = next(result[tag] for result in made if tag in result)
        where = [name if tag in result else "" for name, result in zip(("SR", "SC", "GSPS"), made, strict=True)]
        source = "image" if element.keyword in FROM_IMAGE else "covidcxr"
        rows.append([str(tag), element.name, element.VR, *where, source])
    return table(["tag", "attribute", "VR", "SR", "SC", "GSPS", "value from"], rows)


def concepts() -> str:
    """Return the table of coded concepts."""
    found: list[Code] = []
    for value in vars(codes).values():
        found += [value] if isinstance(value, Code) else list(value.values()) if isinstance(value, dict) else []
    rows = sorted({(code.scheme_designator, code.value, code.meaning) for code in found if isinstance(code, Code)})
    return table(["scheme", "code", "meaning"], [list(row) for row in rows])


def limits() -> str:
    """Return the table of configurable and fixed limits."""
    given = NodeSettings()
    rows = [
        ["open associations", str(given.associations), "`--associations`"],
        ["size of a message, bytes", str(given.message_bytes), "`--max-megabytes`"],
        ["images per second", str(given.images_per_second or "no limit"), "`--rate`"],
        ["images waiting to be scored", str(given.backlog), "`--backlog`"],
        ["size of a PDU, bytes", str(MAX_PDU_BYTES), "fixed"],
        ["ACSE (ARTIM) timeout, s", f"{ACSE_TIMEOUT_S:.0f}", "fixed"],
        ["network and DIMSE timeout, s", f"{NETWORK_TIMEOUT_S:.0f}", "fixed"],
        ["timeout for answers of the peer, s", f"{TIMEOUT_S:.0f}", "fixed"],
        ["longest delay between delivery attempts, s", f"{MAX_RETRY_DELAY_S:.0f}", "fixed"],
        ["asynchronous operations", "1", "fixed"],
    ]
    return table(["limit", "default", "set by"], rows)


def profiles() -> str:
    """Return the table of de-identification profiles."""
    return table(["code", "profile or option"], [[f"{code.value} DCM", code.meaning] for code in METHODS])


TABLES = {
    "received": received,
    "sent": sent,
    "syntaxes": syntaxes,
    "statuses": statuses,
    "selection": selection,
    "attributes": attributes,
    "concepts": concepts,
    "limits": limits,
    "profiles": profiles,
}


def filled(text: str) -> str:
    """Return a page with every block replaced by its current table."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found["name"]]() + found[3], text)


def _image() -> Dataset:
    ds = Dataset()
    for keyword in (*IDENTITY, *PATIENT_AND_STUDY, *OPTIONAL):
        setattr(ds, keyword, "1.2" if keyword.endswith("UID") else "")
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.Rows, ds.Columns = GREY.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsStored, ds.PixelRepresentation = 8, 0
    ds.WindowCenter, ds.WindowWidth = 128, 256
    return ds


def _prediction() -> Prediction:
    cells = np.zeros((7, 7), np.float32)
    cells[3, 3] = 1
    return Prediction(
        label=LABELS[0],
        probabilities=dict.fromkeys(LABELS, 1 / len(LABELS)),
        interval=None,
        prediction_set=None,
        operating_points={},
        flags=(),
        model="example@0",
        audit=None,
        activation_map=ActivationMap(values=cells, box=(0.0, 0.0, 1.0, 1.0)),
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
