import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.build import build
from covidcxr.data.collect import write_rejects
from covidcxr.data.duplicates import write_duplicates
from covidcxr.data.manifest import FRONTAL_VIEWS, write_manifest
from covidcxr.data.report import AGE_BANDS, age_band, contact_sheet, summarise, write_report
from covidcxr.errors import ImageError, ManifestError
from support.small_collections import write_collections


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_collections(folder)
    made = build(folder, views=FRONTAL_VIEWS, seed=0)
    write_manifest(made.records, folder / "m.csv")
    write_rejects(made.rejects, folder / "m.rejects.csv")
    write_duplicates(made.duplicates, folder / "m.duplicates.csv")
    return folder, made


def test_counts_add_up(made):
    _, data = made
    summary = summarise(data.records, data.rejects, data.duplicates)
    assert summary["pictures"] == 30
    assert summary["by_label"]["kermany"] == {"normal": 10, "pneumonia": 10, "covid": 0, "all": 20}
    assert summary["by_split"]["all"]["all"] == 30
    assert summary["by_view"]["covid-chestxray"] == {"AP": 0, "PA": 8, "all": 8}
    assert summary["by_age"]["covid-chestxray"]["60-79"] == 8
    assert summary["left_out_by_reason"]["covid-chestxray"] == {
        "broken": 1,
        "finding": 1,
        "missing": 1,
        "view": 3,
        "all": 6,
    }
    assert summary["left_out_findings"] == {"(empty)": 1, "todo": 1}
    assert summary["duplicates"]["kermany"]["covid-chestxray"] == 1
    assert summary["duplicates"]["covid-chestxray"]["kermany"] == 1
    assert summary["external_for_what_they_share"] == ["covid-chestxray/covid-1.png"]


def test_nothing_left_out_and_no_pairs_are_fine(made):
    _, data = made
    summary = summarise(data.records, [], [])
    assert summary["left_out_by_reason"] == {}
    assert summary["duplicate_pairs"] == 0


@pytest.mark.parametrize(("age", "band"), [(None, "unknown"), (0, "0-17"), (17.9, "0-17"), (18, "18-39"), (120, "80+")])
def test_age_bands(age, band):
    assert age_band(age) == band
    assert band == "unknown" or band in AGE_BANDS


class Page(HTMLParser):
    """Collects the addresses that a page loads and the text of its table cells."""

    def __init__(self):
        super().__init__()
        self.loaded, self.cells = [], []
        self._in_cell = False

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name == "src" or (tag == "link" and name == "href")]
        self._in_cell = tag in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.cells.append(data)


def test_the_page_is_one_file_with_the_numbers_and_a_sheet_per_source(made, tmp_path):
    folder, _ = made
    summary = write_report(folder / "m.csv", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "data.json").read_text()) == summary
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data.html",
        "data.json",
        "sheet-actualmed.png",
        "sheet-covid-chestxray.png",
        "sheet-kermany.png",
    ]
    page = Page()
    page.feed((tmp_path / "out" / "data.html").read_text(encoding="utf-8"))
    assert len(page.loaded) == 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loaded)
    assert {"kermany", "todo", "AP", "external"} <= set(page.cells)


def test_a_contact_sheet_shows_the_pictures_and_the_seed_chooses(made):
    _, data = made
    children = [record for record in data.records if record.source == "kermany"]
    sheet = contact_sheet(children, seed=0)
    assert np.asarray(sheet).std() > 30
    assert np.array_equal(sheet, contact_sheet(children, seed=0))
    few = contact_sheet(children[:3], seed=0)
    assert few.height < sheet.height


def test_missing_parts_are_named(made, tmp_path):
    folder, data = made
    with pytest.raises(ManifestError, match=r"absent\.csv"):
        write_report(tmp_path / "absent.csv", tmp_path)
    write_manifest(data.records, folder / "alone.csv")
    with pytest.raises(ManifestError, match=r"alone\.rejects\.csv"):
        write_report(folder / "alone.csv", tmp_path)
    gone = Path(tmp_path / "gone.png")
    Image.new("L", (64, 64)).save(gone)
    with pytest.raises(ImageError, match="IM-9999"):
        contact_sheet([type(r)(**{**vars(r), "path": tmp_path / "IM-9999.png"}) for r in data.records[:1]], seed=0)
