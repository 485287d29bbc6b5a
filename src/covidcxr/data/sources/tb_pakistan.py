"""Dataset of Tuberculosis Chest X-rays Images: one hospital in Pakistan (Kiran and Jabeen 2024)."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import Item, ManualDownload, Role, Source
from covidcxr.labels import Label

NAME = "tb-pakistan"
FOLDER = "Dataset of Tuberculosis Chest X-rays Images"
NORMAL, TUBERCULOSIS = "Normal", "TB"
_SUFFIX = " Chest X-rays"


def read(folder: Path) -> Iterator[Item]:
    """Yield every image of the two folders, whose names tell the finding.

    No patients are published, so each image counts as its own. No projections are published either; all images are
    FRONTAL because none of the 1,022 that we looked at is lateral.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}/*.jp*g")):
        finding = path.parent.name.removesuffix(_SUFFIX)
        yield Item(path=path, patient_id=path.stem, finding=finding, view=View.FRONTAL)


SOURCE = Source(
    name=NAME,
    folder=FOLDER,
    title=FOLDER,
    homepage="https://data.mendeley.com/datasets/8j2g3csprk/2",
    licence="CC BY 4.0",
    citation="Kiran S, Jabeen I. Dataset of Tuberculosis Chest X-rays Images. Mendeley Data, V2 (2024). "
    "https://doi.org/10.17632/8j2g3csprk.2",
    download=ManualDownload(
        steps="Download all files of https://data.mendeley.com/datasets/8j2g3csprk/2 and unpack the folders "
        "'Normal Chest X-rays' and 'TB Chest X-rays'"
    ),
    findings={NORMAL: Label.NORMAL},
    other_findings=frozenset({TUBERCULOSIS}),
    read=read,
    layout="{Normal,TB} Chest X-rays/*.jpg",
    role=Role.NORMAL,
)
