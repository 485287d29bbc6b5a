"""Chest X-Ray Images (Pneumonia): children aged 1 to 5 in Guangzhou (Kermany et al. 2018)."""

import re
from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import Item, KaggleDataset, Role, Source
from covidcxr.labels import Label

NAME = "kermany"

FINDINGS = {
    "NORMAL": Label.NORMAL,
    "PNEUMONIA": Label.PNEUMONIA,
    "PNEUMONIA bacteria": Label.PNEUMONIA,
    "PNEUMONIA virus": Label.PNEUMONIA,
}
"""Folder, and the pathogen in the file name if there is one."""

_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d+")
_NORMAL = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?")


def read(folder: Path) -> Iterator[Item]:
    """Yield every image of train, val and test.

    All are anterior-posterior (Kermany et al. 2018, STAR Methods). ``person7_bacteria_*`` and ``person7_virus_*`` count
    as one patient: whether they are one is not published, and this is the safe assumption.
    """
    for part in ("train", "val", "test"):
        for path in sorted((folder / "chest_xray" / part).glob("*/*.jp*g")):
            patient, finding = _name(path)
            yield Item(
                path=path,
                patient_id=patient,
                finding=finding,
                view=View.AP,
                age=None,
                sex="",
            )


def _name(path: Path) -> tuple[str, str]:
    """Return the patient and the finding."""
    if person := _PERSON.fullmatch(path.stem):
        return person[1], f"{path.parent.name} {person[2]}"
    normal = _NORMAL.fullmatch(path.stem)
    return normal[1] if normal else path.stem, path.parent.name


SOURCE = Source(
    name=NAME,
    folder="chest-xray-pneumonia",
    title="Chest X-Ray Images (Pneumonia)",
    homepage="https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia",
    licence="CC BY 4.0",
    citation="Kermany DS, Goldbaum M, Cai W, et al. Identifying Medical Diagnoses and Treatable Diseases by "
    "Image-Based Deep Learning. Cell 172 (2018) 1122-1131. https://doi.org/10.1016/j.cell.2018.02.010",
    download=KaggleDataset(handle="paultimothymooney/chest-xray-pneumonia/versions/2"),
    findings=FINDINGS,
    read=read,
    layout="chest_xray/{train,val,test}/*/*.jpeg",
    role=Role.NORMAL,
    children=True,
)
