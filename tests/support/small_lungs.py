"""A small collection with lung masks: synthetic radiographs, and on them the boxes that phantom promises are lung."""

from pathlib import Path

import numpy as np

from covidcxr.images.phantom import LEFT_LUNG, RIGHT_LUNG, radiograph
from support.small_collections import covid_chestxray_row, save, write_table

SIZE = (120, 100)
HOSPITALS = ("Brescia", "Madrid", "Wuhan", "Essen", "Seoul")


def lungs(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return bool, shape ``size``: True in the two boxes that lie inside the lungs."""
    height, width = size
    mask = np.zeros(size, bool)
    for left, top, right, bottom in (RIGHT_LUNG, LEFT_LUNG):
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    return mask


def write_lungs(root: Path, patients: int = 10) -> None:
    """Write two images with masks of each patient, the patients at HOSPITALS in turn, and what no pair comes from.

    Those are a lateral view, a CT slice, an image without mask and a mask without image.
    """
    folder, masks = root / "covid-chestxray-dataset", root / "lung-masks-v7"
    rows = []
    for number in range(2 * patients):
        where = {"patientid": f"p{number // 2}", "location": HOSPITALS[number // 2 % len(HOSPITALS)]}
        rows.append(covid_chestxray_row(f"{number:02}.jpg", "COVID-19", **where))
    rows += [
        covid_chestxray_row("side.jpg", "COVID-19", view="L", location="Brescia"),
        covid_chestxray_row("slice.jpg", "COVID-19", view="Coronal", modality="CT", location="Brescia"),
        covid_chestxray_row("bare.jpg", "COVID-19", location="Brescia"),
        covid_chestxray_row("gone.jpg", "COVID-19", location="Brescia"),
    ]
    write_table(folder / "metadata.csv", rows)
    for number, row in enumerate(rows):
        name = row["filename"]
        if name != "gone.jpg":
            save(folder / "images" / name, radiograph(np.random.default_rng(number), size=SIZE))
        if name != "bare.jpg":
            save(masks / f"{name}.png", lungs())
