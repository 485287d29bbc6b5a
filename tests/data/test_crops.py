import io

import numpy as np
import pytest
from PIL import Image

from covidcxr.data import crops
from covidcxr.data.alignment import FINE
from covidcxr.data.crops import CUTS, Crops, find_crops
from covidcxr.data.duplicates import find_duplicates, fingerprint
from covidcxr.images.decode import read_image
from support.small_collections import chest

SIZE = 400, 330


def thumbnail(grey):
    return np.asarray(Image.fromarray(grey).resize((FINE, FINE), Image.Resampling.LANCZOS))


def cropped(grey, left, right, top, bottom):
    """Crop shares of the sides, squeeze to a square, change the contrast and recompress."""
    height, width = grey.shape
    part = grey[round(top * height) : round((1 - bottom) * height), round(left * width) : round((1 - right) * width)]
    squeezed = np.asarray(Image.fromarray(part).resize((299, 299), Image.Resampling.BICUBIC), np.float64)
    buffer = io.BytesIO()
    Image.fromarray((255 * (squeezed / 255) ** 1.3).astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def joined(found):
    return Crops.joined(list(found))


def test_the_cut_of_each_side_is_measured():
    cut = (0.27, 0.04, 0.0, 0.21)
    pictures = [chest(person, SIZE) for person in range(6)]
    found = joined(find_crops([thumbnail(grey) for grey in [*pictures, cropped(pictures[3], *cut)]]))
    assert set(zip(found.whole.tolist(), found.cropped.tolist(), strict=True)) == {(3, 6)}
    assert found.cut[0] == pytest.approx(cut, abs=0.01)
    assert found.correlation[0] > 0.98


def test_copies_cropped_by_up_to_a_third_are_found_and_other_people_are_not():
    people, copies = 60, 40
    rng = np.random.default_rng(0)
    pictures = {f"s/{person:02}": chest(person, SIZE) for person in range(people)}
    cuts = {f"s/{person:02}": rng.uniform(0, 0.3, 4) for person in range(copies)}
    everything = pictures | {f"t{name}": cropped(pictures[name], *cut) for name, cut in cuts.items()}
    found = find_duplicates(list(everything), [fingerprint(grey) for grey in everything.values()])
    pairs = {(pair.id_a, pair.id_b) for pair in found}
    assert pairs <= {(name, f"t{name}") for name in cuts}
    assert len(pairs) >= 0.95 * copies


def test_blocks_change_nothing(monkeypatch):
    pictures = [chest(person) for person in range(8)]
    thumbnails = [thumbnail(grey) for grey in [*pictures, cropped(pictures[1], 0.1, 0.2, 0.05, 0.3)]]
    whole = joined(find_crops(thumbnails))
    monkeypatch.setattr(crops, "_ROWS", 2)
    monkeypatch.setattr(crops, "_PAIRS", 3)
    parts = joined(find_crops(thumbnails))
    assert (parts.whole.tolist(), parts.cropped.tolist()) == (whole.whole.tolist(), whole.cropped.tolist())
    assert parts.cut == pytest.approx(whole.cut, abs=1e-4)


def test_few_and_uniform_pictures_have_no_crops():
    assert list(find_crops([])) == []
    assert list(find_crops([thumbnail(chest(1))])) == []
    grey = np.full((FINE, FINE), 90, np.uint8)
    assert len(joined(find_crops([grey, grey, grey])).whole) == 0


def test_every_combination_of_steps_is_a_cut():
    assert CUTS.shape == (256, 4)
    assert len(np.unique(CUTS, axis=0)) == 256


@pytest.mark.real_data
def test_real_copies_are_found_among_more_pictures_than_few(data_root):
    """The short vectors choose which pairs are fitted."""
    folders = "nih-chestxray14/images", "covid-cxnet/chest_xray_images/covid19", "jsrt/images"
    pictures = [read_image(path) for name in folders for path in sorted((data_root / name).iterdir())[:80]]
    rng = np.random.default_rng(0)
    copies = {number: cropped(pictures[number], *rng.uniform(0, 0.3, 4)) for number in range(0, len(pictures), 3)}
    assert len(pictures) + len(copies) > crops.FEW
    found = joined(find_crops([thumbnail(grey) for grey in [*pictures, *copies.values()]]))
    pairs = set(zip(found.whole.tolist(), found.cropped.tolist(), strict=True))
    expected = {(number, len(pictures) + place) for place, number in enumerate(copies)}
    assert len(expected & pairs) >= 0.95 * len(expected)
