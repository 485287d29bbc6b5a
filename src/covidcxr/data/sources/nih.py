"""NIH ChestX-ray14 (Wang et al. 2017): mostly adults, labels mined from the reports."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.sources.base import Item, KaggleDataset, Role, Source, parse_age, parse_sex, parse_view, read_rows
from covidcxr.errors import ManifestError
from covidcxr.labels import Label

NAME = "nih"
COLUMNS = ("image index", "finding labels", "patient id", "patient age", "patient gender", "view position")
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
"""The table of 2020 and the original one, which the Kaggle copy contains."""

FINDINGS = {"No Finding": Label.NORMAL, "Pneumonia": Label.PNEUMONIA}
"""Every image has a list of findings. A list with Pneumonia is pneumonia, No Finding alone is normal."""


def read(folder: Path) -> Iterator[Item]:
    """Yield every row of the table; images are in ``images/`` or, in the Kaggle copy, in ``images_*/images/``."""
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise ManifestError(f"Expected {' or '.join(TABLES)} in {folder}. Received neither.")
    files = {path.name: path for part in (".", "images_*") for path in folder.glob(f"{part}/images/*.png")}
    for row in read_rows(table, COLUMNS):
        name = row["image index"]
        yield Item(
            path=files.get(name, folder / "images" / name),
            patient_id=row["patient id"],
            finding=row["finding labels"],
            view=parse_view(row["view position"]),
            published_view=row["view position"],
            age=parse_age(row["patient age"]),
            sex=parse_sex(row["patient gender"]),
        )


SOURCE = Source(
    name=NAME,
    folder="nih-chestxray14",
    title="NIH ChestX-ray14",
    homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    licence="NIH Clinical Center, free with attribution",
    citation="Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: Hospital-scale Chest X-ray Database and "
    "Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases. IEEE CVPR (2017) "
    "3462-3471. https://doi.org/10.1109/CVPR.2017.369",
    download=KaggleDataset(handle="nih-chest-xrays/data/versions/3"),
    findings=FINDINGS,
    read=read,
    layout=" or ".join(TABLES),
    role=Role.NORMAL,
    separator="|",
)
