"""Small collections in the layouts of their publishers, with synthetic radiographs of people who differ."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from covidcxr.images.grey import Grey
from covidcxr.images.phantom import radiograph


def chest(person: int, size: tuple[int, int] = (240, 200)) -> Grey:
    """Draw a radiograph whose fine detail belongs to one person; the phantom alone is the same for all."""
    rng = np.random.default_rng(person)
    base = Image.fromarray(radiograph(rng, size=size))
    coarse = Image.fromarray(rng.normal(128, 60, (24, 20)).clip(0, 255).astype(np.uint8))
    return np.asarray(Image.blend(base, coarse.resize(base.size, Image.Resampling.BICUBIC), 0.35))


def save(path: Path, grey: Grey) -> None:
    """Save a picture in the format that its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)


def write_table(path: Path, rows: list[dict[str, str]], encoding: str = "utf-8", columns: tuple[str, ...] = ()) -> None:
    """Write metadata as CSV with the columns of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def covid_chestxray_row(filename: str, finding: str, **more: str) -> dict[str, str]:
    """Return a row of covid-chestxray's metadata, the columns that are read."""
    row = {"patientid": filename, "sex": "M", "age": "60", "finding": finding, "view": "PA", "modality": "X-ray"}
    return row | {"folder": "images", "filename": filename, "license": "CC BY-NC-SA", " url": "", "": ""} | more


def actualmed_row(name: str, finding: str, **more: str) -> dict[str, str]:
    """Return a row of actualmed's metadata, the columns that are read."""
    row = {"patientid": name, "sex": "", "age": "", "finding": finding, "view": "AP", "imagename": f"{name}.png"}
    return row | more


def write_collections(root: Path) -> None:
    """Write three collections: 20 children, 14 rows of covid-chestxray of every kind, 3 pictures of actualmed.

    ``covid-0.png`` shows the same radiograph as child 0; ``covid-1.png`` the same as ``A.png`` of actualmed.
    """
    kermany = root / "chest-xray-pneumonia" / "chest_xray"
    for number in range(10):
        save(kermany / "train" / "NORMAL" / f"IM-{number:04}-0001.jpeg", chest(number))
        save(kermany / "test" / "PNEUMONIA" / f"person{number}_virus_{number}.jpeg", chest(100 + number))
    cohen = root / "covid-chestxray-dataset"
    rows = [covid_chestxray_row(f"covid-{number}.png", "COVID-19") for number in range(8)]
    rows += [
        covid_chestxray_row("lateral.png", "COVID-19", view="L", patientid="covid-2.png"),
        covid_chestxray_row("slice.png", "COVID-19", view="Axial", modality="CT"),
        covid_chestxray_row("todo.png", "todo"),
        covid_chestxray_row("broken.png", "COVID-19"),
        covid_chestxray_row("gone.png", "COVID-19"),
        covid_chestxray_row("volume.nii.gz", "COVID-19", view="Axial", modality="CT", folder="volumes"),
    ]
    write_table(cohen / "metadata.csv", rows)
    for row in rows[:11]:
        person = {"covid-0.png": 0, "covid-1.png": 300}.get(row["filename"], 200 + rows.index(row))
        save(cohen / "images" / row["filename"], chest(person))
    (cohen / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (cohen / "volumes").mkdir()
    (cohen / "volumes" / "volume.nii.gz").write_bytes(b"\x1f\x8b")
    actualmed = root / "actualmed"
    write_table(
        actualmed / "metadata.csv",
        [actualmed_row("A", "COVID-19"), actualmed_row("B", "No finding"), actualmed_row("C", "")],
    )
    for number, name in enumerate("ABC"):
        save(actualmed / "images" / f"{name}.png", chest(300 + number))
