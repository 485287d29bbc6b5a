"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021): copies from many collections."""

import re
from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import Item, KaggleDataset, Source
from covidcxr.labels import Label

NAME = "radiography"
LICENCE = "see the Kaggle page; non-commercial research"
LAST_KERMANY = 1341
"""``Normal-1`` to ``Normal-1341`` come from the children of kermany, the other 8,851 normals from the RSNA challenge,
which took them from NIH ChestX-ray14 (text of the Kaggle page)."""

FINDINGS = {"COVID": Label.COVID, "Normal": Label.NORMAL, "Viral Pneumonia": Label.PNEUMONIA}
"""Folders. ``Lung_Opacity`` is left out: an opacity is not always a pneumonia."""

_NUMBER = re.compile(r"-(\d+)$")


def read(folder: Path) -> Iterator[Item]:
    """Yield every picture.

    Patients are not published: each picture is its own. Projections are not published per picture: the publisher
    compiled frontal radiographs, PA and AP (Chowdhury et al. 2020, Rahman et al. 2021), so all are FRONTAL.
    """
    for path in sorted(folder.glob("*/images/*.png")):
        finding = path.parent.parent.name
        yield Item(
            path=path,
            patient_id=path.stem,
            finding=finding,
            view=View.FRONTAL,
            age=None,
            sex="",
            licence=LICENCE,
            origin=_origin(finding, path.stem),
        )


def _origin(finding: str, stem: str) -> str:
    if finding == "COVID":
        return "radiography-covid"
    if finding == "Viral Pneumonia":
        return "kermany"
    number = _NUMBER.search(stem)
    return "kermany" if finding == "Normal" and number and int(number[1]) <= LAST_KERMANY else "nih"


SOURCE = Source(
    name=NAME,
    folder="COVID-19_Radiography_Dataset",
    title="COVID-19 Radiography Database",
    homepage="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    licence=LICENCE,
    citation="Chowdhury MEH, Rahman T, Khandakar A, et al. Can AI Help in Screening Viral and COVID-19 Pneumonia? IEEE "
    "Access 8 (2020) 132665-132676. https://doi.org/10.1109/ACCESS.2020.3010287; Rahman T, Khandakar A, Qiblawey Y, et "
    "al. Exploring the Effect of Image Enhancement Techniques on COVID-19 Detection Using Chest X-ray Images. "
    "Computers in Biology and Medicine 132 (2021) 104319. https://doi.org/10.1016/j.compbiomed.2021.104319",
    download=KaggleDataset(
        handle="tawsifurrahman/covid19-radiography-database/versions/5", folder="COVID-19_Radiography_Dataset"
    ),
    findings=FINDINGS,
    read=read,
)
