import numpy as np
import pytest

from covidcxr.data.build import build
from covidcxr.data.manifest import FRONTAL_VIEWS, Split
from covidcxr.data.sources import SOURCES
from support.small_collections import save, write_collections


def test_every_record_has_what_its_collection_published(tmp_path):
    write_collections(tmp_path)
    made = build(tmp_path, views=FRONTAL_VIEWS, seed=0)
    record = next(r for r in made.records if r.id == "covid-chestxray/covid-5.png")
    assert (record.patient_id, record.finding) == ("covid-chestxray:covid-5.png", "COVID-19")
    assert (record.licence, record.age, record.sex) == ("CC BY-NC-SA", 60, "M")
    assert record.path == tmp_path / SOURCES["covid-chestxray"].folder / "images" / "covid-5.png"
    assert [r.id for r in made.drawn_in] == ["covid-chestxray/covid-1.png"]


def test_the_same_file_twice_is_in_one_group_though_it_has_no_detail(tmp_path):
    """Without detail no near-duplicates are found, and a file in two parts of the data is refused."""
    write_collections(tmp_path)
    folder = tmp_path / "chest-xray-pneumonia" / "chest_xray" / "train" / "NORMAL"
    names = [f"IM-{number:04}-0001.jpeg" for number in range(50, 60)]
    for name in names:
        save(folder / name, np.full((240, 200), 90, np.uint8))
    made = build(tmp_path, views=FRONTAL_VIEWS, seed=0)
    assert {r.group for r in made.records if r.path.name in names} == {f"kermany/{names[0]}"}


@pytest.mark.real_data
def test_figure1_and_actualmed_as_they_are(data_root, tmp_path):
    for name in ("figure1", "actualmed"):
        (tmp_path / name).symlink_to(data_root / name)
    made = build(tmp_path, views=FRONTAL_VIEWS, seed=0)
    assert sum(r.source == "actualmed" and r.split is Split.EXTERNAL for r in made.records) == 44
    assert sum(r.source == "figure1" for r in made.records) == 8
    assert made.drawn_in == []
