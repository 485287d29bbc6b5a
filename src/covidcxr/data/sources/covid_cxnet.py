"""COVID-CXNet: COVID-19 images from societies, papers and social media (Haghanifar et al. 2022)."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import (
    GitHubArchive,
    Item,
    Role,
    Source,
    parse_age,
    parse_sex,
    parse_view,
    read_rows,
    unlisted,
)
from covidcxr.labels import Label

COLUMNS = ("filename", "patient_id", "sex", "age", "view", "label")
FINDINGS = {"COVID-19": Label.COVID}


def read(folder: Path) -> Iterator[Item]:
    """Yield every row of metadata.csv and every image without a row.

    A blank view is FRONTAL: according to the README of the repository and the title of the paper, all are.
    """
    images = folder / "chest_xray_images" / "covid19"
    listed: set[Path] = set()
    for row in read_rows(folder / "metadata.csv", COLUMNS):
        listed.add(images / row["filename"])
        yield Item(
            path=images / row["filename"],
            patient_id=row["patient_id"],
            finding=row["label"],
            view=parse_view(row["view"]) if row["view"] else View.FRONTAL,
            published_view=row["view"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
        )
    yield from unlisted(images, listed)


SOURCE = Source(
    name="covid-cxnet",
    folder="covid-cxnet",
    title="COVID-CXNet",
    homepage="https://github.com/armiro/COVID-CXNet",
    licence="CC BY 4.0",
    citation="Haghanifar A, Majdabadi MM, Choi Y, Deivalakshmi S, Ko S. COVID-CXNet: Detecting COVID-19 in Frontal "
    "Chest X-ray Images Using Deep Learning. Multimedia Tools and Applications 81 (2022) 30615-30645. "
    "https://doi.org/10.1007/s11042-022-12156-z",
    download=GitHubArchive(
        repo="armiro/COVID-CXNet",
        commit="e2fabd334940448a95eadc12d79558d51c0a3a0c",
        content={"metadata.csv": "1b16477feaf34d3136262e47def45b6537408429e373df57dec44c08d880d313"},
    ),
    findings=FINDINGS,
    read=read,
    role=Role.COVID,
)
