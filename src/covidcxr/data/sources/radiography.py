"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021): compiled from many collections."""

import re
from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources import kermany, nih
from covidcxr.data.sources.base import Item, KaggleDataset, Role, Source
from covidcxr.labels import Label

LAST_KERMANY = 1341
"""``Normal-1`` to ``Normal-1341`` show children of kermany; the other 8,851 normals come from the RSNA challenge, which
took them from NIH ChestX-ray14 (Kaggle page)."""
ORIGIN = "radiography-covid"
"""Origin of the COVID-19 images."""

FINDINGS = {"COVID": Label.COVID, "Normal": Label.NORMAL, "Viral Pneumonia": Label.PNEUMONIA}
"""Folders. ``Lung_Opacity`` is left out because not every opacity is pneumonia."""

_NUMBER = re.compile(r"-(\d+)$")


def read(folder: Path) -> Iterator[Item]:
    """Yield every image.

    No patients are published, so each image counts as its own. No projections are published either; all are FRONTAL
    because the publisher compiled PA and AP radiographs (Chowdhury et al. 2020, Rahman et al. 2021).
    """
    for path in sorted(folder.glob("*/images/*.png")):
        finding = path.parent.parent.name
        yield Item(
            path=path,
            patient_id=path.stem,
            finding=finding,
            view=View.FRONTAL,
            origin=_origin(finding, path.stem),
        )


def _origin(finding: str, stem: str) -> str:
    if finding == "COVID":
        return ORIGIN
    if finding == "Viral Pneumonia":
        return kermany.NAME
    number = _NUMBER.search(stem)
    return kermany.NAME if finding == "Normal" and number and int(number[1]) <= LAST_KERMANY else nih.NAME


SOURCE = Source(
    name="radiography",
    folder="COVID-19_Radiography_Dataset",
    title="COVID-19 Radiography Database",
    homepage="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    licence="see the Kaggle page; non-commercial research",
    citation="Chowdhury MEH, Rahman T, Khandakar A, et al. Can AI Help in Screening Viral and COVID-19 Pneumonia? IEEE "
    "Access 8 (2020) 132665-132676. https://doi.org/10.1109/ACCESS.2020.3010287; Rahman T, Khandakar A, Qiblawey Y, et "
    "al. Exploring the Effect of Image Enhancement Techniques on COVID-19 Detection Using Chest X-ray Images. "
    "Computers in Biology and Medicine 132 (2021) 104319. https://doi.org/10.1016/j.compbiomed.2021.104319",
    download=KaggleDataset(
        handle="tawsifurrahman/covid19-radiography-database/versions/5", folder="COVID-19_Radiography_Dataset"
    ),
    findings=FINDINGS,
    read=read,
    layout="*/images/*.png",
    role=Role.COVID,
    own_origin=ORIGIN,
)
