import json
import re

import pytest
from click.testing import CliRunner

from covidcxr.cli.data import command
from covidcxr.data.collect import read_rejects
from covidcxr.data.duplicates import read_duplicates
from covidcxr.data.manifest import Split, read_manifest
from covidcxr.data.sources import SOURCES
from covidcxr.errors import DownloadError, ManifestError
from support.small_collections import write_collections


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_collections(folder)
    result = run("build", "--root", folder, "--out", folder / "manifest.csv")
    assert result.exit_code == 0
    return folder, result.output


def test_build_writes_a_manifest_with_groups_and_splits(built):
    folder, _ = built
    records = {record.id: record for record in read_manifest(folder / "manifest.csv")}
    assert len(records) == 30
    copy, child = records["covid-chestxray/covid-0.png"], records["kermany/IM-0000-0001.jpeg"]
    assert copy.group == child.group == "covid-chestxray/covid-0.png"
    assert copy.split == child.split
    assert {record.split for record in records.values() if record.source == "actualmed"} == {Split.EXTERNAL}
    assert records["covid-chestxray/covid-1.png"].split is Split.EXTERNAL
    assert all(record.path.is_file() for record in records.values())


def test_build_writes_what_was_left_out_and_the_pairs(built):
    folder, output = built
    assert len(read_rejects(folder / "manifest.rejects.csv")) == 7
    pairs = read_duplicates(folder / "manifest.duplicates.csv")
    assert [(pair.id_a, pair.id_b) for pair in pairs] == [
        ("actualmed/A.png", "covid-chestxray/covid-1.png"),
        ("covid-chestxray/covid-0.png", "kermany/IM-0000-0001.jpeg"),
    ]
    assert re.search(r"covid-chestxray +missing +1\n", output)
    assert "near-duplicates: 2 pairs, 2 of them across collections" in output
    assert "shares a patient or image with an external collection: covid-chestxray/covid-1.png" in output


def test_the_same_data_and_seed_give_the_same_bytes(built):
    folder, _ = built
    names = ("csv", "rejects.csv", "duplicates.csv")
    before = [(folder / f"manifest.{name}").read_bytes() for name in names]
    run("build", "--root", folder, "--out", folder / "again.csv")
    assert [(folder / f"again.{name}").read_bytes() for name in names] == before
    run("build", "--root", folder, "--out", folder / "other.csv", "--seed", "1")
    assert (folder / "other.csv").read_bytes() != before[0]


def test_build_with_pa_only(built):
    folder, _ = built
    run("build", "--root", folder, "--out", folder / "pa.csv", "--views", "pa")
    assert {record.source for record in read_manifest(folder / "pa.csv")} == {"covid-chestxray"}


def test_build_without_collections_says_what_it_looked_for(tmp_path):
    with pytest.raises(ManifestError, match="chest-xray-pneumonia"):
        run("build", "--root", tmp_path, "--out", tmp_path / "manifest.csv")


def test_report(built):
    folder, _ = built
    result = run("report", folder / "manifest.csv", "--out", folder / "report")
    assert "30 images of 3 collections" in result.output
    assert json.loads((folder / "report" / "data.json").read_text())["duplicate_pairs_across"] == 2


def test_download_of_what_is_there_cites_and_leaves_it(tmp_path):
    (tmp_path / "figure1").mkdir()
    result = run("download", "figure1", "--root", tmp_path)
    assert "already in" in result.output
    assert SOURCES["figure1"].citation in result.output


def test_download_of_an_unknown_collection_names_the_known_ones(tmp_path):
    result = run("download", "padchest", "--root", tmp_path)
    assert result.exit_code == 2
    assert "covid-chestxray, kermany" in result.output


def test_download_asks_the_mirror_that_is_given(tmp_path):
    with pytest.raises(
        DownloadError, match="Cannot download nowhere://at-all/agchung/Figure1-COVID-chestxray-dataset/archive"
    ):
        run("download", "figure1", "--root", tmp_path, "--github", "nowhere://at-all")
