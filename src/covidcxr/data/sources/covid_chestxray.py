"""COVID-19 Image Data Collection (Cohen et al. 2020), as of June 2020 and later."""

from collections.abc import Iterator
from pathlib import Path

from covidcxr.data.manifest import View
from covidcxr.data.sources.base import (
    NOT_STATED,
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

ARCHIVE = GitHubArchive(
    repo="ieee8023/covid-chestxray-dataset", commit="6a4242344473ccb5ed0d2148d8c7bfb1691e4ed8", content={}
)
COLUMNS = ("patientid", "sex", "age", "finding", "view", "modality", "folder", "filename", "license")

FINDINGS = {
    "No Finding": Label.NORMAL,
    # until the summer of 2020, as in the metadata and in the publisher's SCHEMA.md
    "Aspiration pneumonia": Label.PNEUMONIA,
    "Herpes pneumonia": Label.PNEUMONIA,
    "Herpes pneumonia, ARDS": Label.PNEUMONIA,
    "MRSA": Label.PNEUMONIA,
    "Nocardia": Label.PNEUMONIA,
    "Round pneumonia": Label.PNEUMONIA,
    "Swine-Origin Influenza A (H1N1) Viral Pneumonia": Label.PNEUMONIA,
    "COVID-19": Label.COVID,
    "COVID-19, ARDS": Label.COVID,
    "Bacterial": Label.PNEUMONIA,
    "Chlamydophila": Label.PNEUMONIA,
    "E.Coli": Label.PNEUMONIA,
    "Influenza": Label.PNEUMONIA,
    "Klebsiella": Label.PNEUMONIA,
    "Legionella": Label.PNEUMONIA,
    "Lipoid": Label.PNEUMONIA,
    "MERS": Label.PNEUMONIA,
    "Mycoplasma Bacterial Pneumonia": Label.PNEUMONIA,
    "Pneumocystis": Label.PNEUMONIA,
    "SARS": Label.PNEUMONIA,
    "Streptococcus": Label.PNEUMONIA,
    "Varicella": Label.PNEUMONIA,
    # since then, as paths
    "Pneumonia": Label.PNEUMONIA,
    "Pneumonia/Aspiration": Label.PNEUMONIA,
    "Pneumonia/Bacterial": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Chlamydophila": Label.PNEUMONIA,
    "Pneumonia/Bacterial/E.Coli": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Klebsiella": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Legionella": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Mycoplasma": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Nocardia": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Staphylococcus/MRSA": Label.PNEUMONIA,
    "Pneumonia/Bacterial/Streptococcus": Label.PNEUMONIA,
    "Pneumonia/Fungal/Aspergillosis": Label.PNEUMONIA,
    "Pneumonia/Fungal/Pneumocystis": Label.PNEUMONIA,
    "Pneumonia/Lipoid": Label.PNEUMONIA,
    "Pneumonia/Viral/COVID-19": Label.COVID,
    "Pneumonia/Viral/Herpes": Label.PNEUMONIA,
    "Pneumonia/Viral/Influenza": Label.PNEUMONIA,
    "Pneumonia/Viral/Influenza/H1N1": Label.PNEUMONIA,
    "Pneumonia/Viral/MERS-CoV": Label.PNEUMONIA,
    "Pneumonia/Viral/SARS": Label.PNEUMONIA,
    "Pneumonia/Viral/Varicella": Label.PNEUMONIA,
}
"""Left out: ``todo``, ``Unknown``, ``ARDS`` alone (it has many causes), ``Tuberculosis`` (a different disease), and
pneumonias that are not infections (eosinophilic, organising, interstitial)."""


def read(folder: Path) -> Iterator[Item]:
    """Yield every row of metadata.csv and every image without a row."""
    listed: set[Path] = set()
    for row in read_rows(folder / "metadata.csv", COLUMNS):
        path = folder / row["folder"] / row["filename"]
        listed.add(path)
        yield Item(
            path=path,
            patient_id=row["patientid"],
            finding=row["finding"],
            view=View.CT if row["modality"] == "CT" else parse_view(row["view"]),
            published_view=row["view"],
            age=parse_age(row["age"]),
            sex=parse_sex(row["sex"]),
            licence=row["license"] or NOT_STATED,
        )
    yield from unlisted(folder / "images", listed, licence=NOT_STATED)


SOURCE = Source(
    name="covid-chestxray",
    folder="covid-chestxray-dataset",
    title="COVID-19 Image Data Collection",
    homepage="https://github.com/ieee8023/covid-chestxray-dataset",
    licence="per image, mostly CC BY-NC-SA 4.0",
    citation="Cohen JP, Morrison P, Dao L, Roth K, Duong TQ, Ghassemi M. COVID-19 Image Data Collection: Prospective "
    "Predictions Are the Future. Machine Learning for Biomedical Imaging 1 (2020). https://doi.org/10.59275/j.melba.2020-48g7",
    download=ARCHIVE,
    findings=FINDINGS,
    read=read,
    role=Role.COVID,
)
