import io

import numpy as np
import pytest
from PIL import Image

from covidcxr.data import duplicates
from covidcxr.data.duplicates import (
    COLUMNS,
    DuplicatePair,
    find_duplicates,
    fingerprint,
    group_ids,
    read_duplicates,
    write_duplicates,
)
from covidcxr.data.sources import SOURCES
from covidcxr.errors import ManifestError
from covidcxr.images.decode import read_image
from support.small_collections import chest


def pair(a, b):
    return DuplicatePair(id_a=a, id_b=b, distance=2, correlation=0.97)


def jpeg(grey, quality):
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


COPIES = {
    "rescaled": lambda grey: np.asarray(Image.fromarray(grey).resize((299, 299))),
    "recompressed": lambda grey: jpeg(grey, 40),
    "cropped": lambda grey: grey[7:-7, 6:-6],
    "brighter": lambda grey: np.clip(grey * 1.25, 0, 255).astype(np.uint8),
    "darker": lambda grey: (grey * 0.7).astype(np.uint8),
}


def test_copies_are_found_and_other_people_are_not():
    pictures = {f"s/{person}": chest(person, (400, 330)) for person in range(5)}
    copies = {f"t/{name}": change(pictures["s/2"]) for name, change in COPIES.items()}
    everything = pictures | copies
    found = find_duplicates(list(everything), [fingerprint(grey) for grey in everything.values()])
    alike = ["s/2", *sorted(copies)]
    assert [(p.id_a, p.id_b) for p in found] == [(a, b) for i, a in enumerate(alike) for b in alike[i + 1 :]]
    assert all(duplicates.MIN_AGREEMENT <= p.correlation <= 1 for p in found)


def test_blocks_and_order_change_nothing(monkeypatch):
    pictures = {f"s/{n}": chest(n % 4) for n in range(7)}
    ids, prints = list(pictures), [fingerprint(grey) for grey in pictures.values()]
    whole = find_duplicates(ids, prints)
    assert [(p.id_a, p.id_b) for p in whole] == [("s/0", "s/4"), ("s/1", "s/5"), ("s/2", "s/6")]
    monkeypatch.setattr(duplicates, "_ROWS", 2)
    monkeypatch.setattr(duplicates, "_PAIRS", 3)
    assert find_duplicates(ids, prints) == whole
    assert [(p.id_a, p.id_b) for p in find_duplicates(ids[::-1], prints[::-1])] == [(p.id_a, p.id_b) for p in whole]


def test_nothing_and_uniform_pictures_have_no_duplicates():
    assert find_duplicates([], []) == []
    black = fingerprint(np.zeros((50, 60), np.uint8))
    assert find_duplicates(["a", "b"], [black, black]) == []


def test_groups_are_chains_of_patients_and_duplicates_named_by_the_smallest_id():
    ids = ["s/d", "s/c", "s/b", "s/a", "s/e"]
    patients = ["1", "1", "2", "3", "4"]
    assert group_ids(ids, patients, ids, [pair("s/b", "s/c"), pair("s/a", "s/b")]) == ["s/a"] * 4 + ["s/e"]
    assert group_ids(ids, patients, ids, []) == ["s/c", "s/c", "s/b", "s/a", "s/e"]
    assert group_ids(ids, patients, ["f", "g", "g", "h", "1"], []) == ["s/b", "s/b", "s/b", "s/a", "s/e"]
    assert group_ids([], [], [], []) == []


def test_pairs_survive_a_file(tmp_path):
    pairs = [pair("s/a, b", "s/c")]
    write_duplicates(pairs, tmp_path / "m.duplicates.csv")
    assert read_duplicates(tmp_path / "m.duplicates.csv") == pairs
    for text in ("id_a,id_b\nx,y\n", f"{','.join(COLUMNS)}\nx,y\n"):
        (tmp_path / "m.duplicates.csv").write_text(text)
        with pytest.raises(ManifestError, match=r"m\.duplicates\.csv"):
            read_duplicates(tmp_path / "m.duplicates.csv")
    with pytest.raises(ManifestError, match="absent"):
        read_duplicates(tmp_path / "absent")


@pytest.mark.real_data
def test_copies_that_the_collections_hold_of_each_other_are_found(data_root):
    known = {
        "covid-chestxray/jkms-35-e79-g001-l-c.jpg": "radiography/COVID-1138.png",
        "covid-chestxray/16747_3_1.jpg": "covid-cxnet/438.jpg",
        "covid-cxnet/469.jpg": "radiography/COVID-1297.png",
        "figure1/COVID-00004.jpg": "radiography/COVID-634.png",
        "kermany/IM-0226-0001.jpeg": "radiography/Normal-127.png",
    }
    strangers = [
        "nih/00002556_000.png",
        "nih/00003248_001.png",
        "kermany/IM-0141-0001.jpeg",
        "kermany/IM-0223-0001.jpeg",
    ]
    ids = [*known, *known.values(), *strangers]
    folders = {name: data_root / source.folder for name, source in SOURCES.items()}
    files = {name: next(folders[name.split("/")[0]].rglob(name.split("/")[1])) for name in ids}
    found = find_duplicates(ids, [fingerprint(read_image(files[name])) for name in ids])
    assert {p.id_a: p.id_b for p in found} == known


def test_the_rough_correlation_differs_from_the_exact_one_only_by_rounding():
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 20, (6, len(duplicates.CROPS), 32, 32)).astype(np.float32)
    coarse[1:3, :] = np.roll(coarse[0, 0], (1, -1), axis=(0, 1))
    coarse[5] = 0
    pairs = np.array([(a, b, crop, 0) for a in range(6) for b in range(6) for crop in range(len(duplicates.CROPS))])
    rough = duplicates._rough(pairs, coarse, duplicates._middles(coarse), duplicates._lengths(coarse))
    exact = duplicates._shifted(coarse[pairs[:, 0], 0], coarse[pairs[:, 1], pairs[:, 2]])
    assert exact.max() > 0.99
    assert np.abs(rough - exact).max() < duplicates._TOLERANCE / 100
