"""Figure 1 COVID-19 Chest X-ray Dataset Initiative (DarwinAI and the University of Waterloo 2020)."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.sources.base import GitHubArchive, Item, Source, parse_age, parse_sex, parse_view, read_rows
from covidcxr.labels import Label

COLUMNS = ("patientid", "sex", "age", "finding", "view", "modality")
FINDINGS = {"COVID-19": Label.COVID, "No finding": Label.NORMAL, "Pneumonia": Label.PNEUMONIA}


def read(folder: Path) -> Iterator[Item]:
    """Yield every row of metadata.csv (Windows-1252).

    ``COVID-00003a`` and ``COVID-00003b`` are two images of one patient. Blank views stay unknown.
    """
    files = {path.stem: path for path in sorted((folder / "images").glob("*.*"))}
    for row in read_rows(folder / "metadata.csv", COLUMNS, encoding="cp1252"):
        name = row["patientid"]
        yield Item(
            path=files.get(name, folder / "images" / f"{name}.jpg"),
            patient_id=name.rstrip("abcdefghijklmnopqrstuvwxyz"),
            finding=row["finding"],
            view=parse_view(row["view"]),
            published_view=row["view"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
        )


SOURCE = Source(
    name="figure1",
    folder="figure1",
    title="Figure 1 COVID-19 Chest X-ray Dataset Initiative",
    homepage="https://github.com/agchung/Figure1-COVID-chestxray-dataset",
    licence="research use, see the repository",
    citation="Chung A. Figure 1 COVID-19 Chest X-ray Dataset Initiative (2020). "
    "https://github.com/agchung/Figure1-COVID-chestxray-dataset",
    download=GitHubArchive(
        repo="agchung/Figure1-COVID-chestxray-dataset",
        commit="95bb569e55f4110d3b734c0f355340e04e16989a",
        content={"metadata.csv": "c4a6313343797ed8f052d2887e451013f93ecc8ebec4b05d0f1bb6d2eee42db7"},
    ),
    findings=FINDINGS,
    read=read,
)
