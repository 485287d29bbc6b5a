"""Actualmed COVID-19 Chest X-ray Dataset: both classes from one hospital; the external test set."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.sources.base import GitHubArchive, Item, Role, Source, parse_age, parse_sex, parse_view, read_rows
from covidcxr.labels import Label

COLUMNS = ("patientid", "sex", "age", "finding", "view", "imagename")
FINDINGS = {"COVID-19": Label.COVID, "No finding": Label.NORMAL}
"""Inconclusive cases have an empty finding and are left out."""


def read(folder: Path) -> Iterator[Item]:
    """Yield every row of metadata.csv."""
    for row in read_rows(folder / "metadata.csv", COLUMNS):
        yield Item(
            path=folder / "images" / row["imagename"],
            patient_id=row["patientid"],
            finding=row["finding"],
            view=parse_view(row["view"]),
            published_view=row["view"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
        )


SOURCE = Source(
    name="actualmed",
    folder="actualmed",
    title="Actualmed COVID-19 Chest X-ray Dataset Initiative",
    homepage="https://github.com/agchung/Actualmed-COVID-chestxray-dataset",
    licence="research use, see the repository",
    citation="Chung A. Actualmed COVID-19 Chest X-ray Dataset Initiative (2020). "
    "https://github.com/agchung/Actualmed-COVID-chestxray-dataset",
    download=GitHubArchive(
        repo="agchung/Actualmed-COVID-chestxray-dataset",
        commit="2635e4b05d2b59628edb10a6e16a506951c84c59",
        content={"metadata.csv": "df7d0b406282d9b8e7163316c9028410f50502ea55159863d798bc6e0c35e10e"},
    ),
    findings=FINDINGS,
    read=read,
    role=Role.EXTERNAL,
)
