"""JSRT database: adults of 14 hospitals with and without a lung nodule, digitised film (Shiraishi et al. 2000)."""

import re
from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import Item, ManualDownload, Role, Source
from covidcxr.labels import Label

NAME = "jsrt"
NORMAL, NODULE = "no nodule", "lung nodule"
_NAME = re.compile(r"JPC(NN|LN)\d{3}")
_FINDINGS = {"NN": NORMAL, "LN": NODULE}
_SUFFIXES = (".img", ".png", ".jpg", ".jpeg")  # in order of preference


def read(folder: Path) -> Iterator[Item]:
    """Yield every image, once: the raw file as published, else the picture made of it in ``images/``.

    The file name tells the finding. Every image is of another patient, and all are PA
    (https://www.isi.uu.nl/Research/Databases/SCR/data.php).
    """
    files: dict[str, Path] = {}
    found = (path for path in folder.glob("**/JPC*") if path.suffix.lower() in _SUFFIXES and "masks" not in path.parts)
    for path in sorted(found, key=lambda path: (_SUFFIXES.index(path.suffix.lower()), path)):
        if _NAME.fullmatch(path.stem):
            files.setdefault(path.stem, path)
    for stem, path in sorted(files.items()):
        yield Item(path=path, patient_id=stem, finding=_FINDINGS[stem[3:5]], view=View.PA)


SOURCE = Source(
    name=NAME,
    folder="jsrt",
    title="JSRT Standard Digital Image Database",
    homepage="http://db.jsrt.or.jp/eng.php",
    licence="research use, after registration",
    citation="Shiraishi J, Katsuragawa S, Ikezoe J, et al. Development of a Digital Image Database for Chest "
    "Radiographs With and Without a Lung Nodule. American Journal of Roentgenology 174 (2000) 71-74. "
    "https://doi.org/10.2214/ajr.174.1.1740071",
    download=ManualDownload(
        steps="Register on http://db.jsrt.or.jp/eng.php, download the images with and without a nodule, and unpack the "
        "files JPCLN001.IMG to JPCLN154.IMG and JPCNN001.IMG to JPCNN093.IMG"
    ),
    findings={NORMAL: Label.NORMAL},
    other_findings=frozenset({NODULE}),
    read=read,
    layout="JPCNN*.IMG and JPCLN*.IMG, or images/JPC*.{png,jpg}",
    role=Role.NORMAL,
)
