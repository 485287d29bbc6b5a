import hashlib
import shutil
from pathlib import Path

import pytest

from covidcxr.data.collect import REJECT_COLUMNS, RejectReason, collect, find_collections, read_rejects, write_rejects
from covidcxr.data.manifest import FRONTAL_VIEWS, View
from covidcxr.errors import ManifestError
from covidcxr.labels import Label
from support.small_collections import actualmed_row, chest, save, write_collections, write_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections")
    write_collections(folder)
    return folder


def collected(root, views):
    found, rejects = collect(root, views)
    return [record for record, _ in found], rejects


def test_everything_is_either_kept_or_left_out_with_its_reason(root):
    pictures, rejects = collected(root, FRONTAL_VIEWS)
    assert len(pictures) == 20 + 8 + 2
    assert {reject.path.name: reject.reason for reject in rejects} == {
        "lateral.png": RejectReason.VIEW,
        "slice.png": RejectReason.VIEW,
        "volume.nii.gz": RejectReason.VIEW,
        "todo.png": RejectReason.FINDING,
        "broken.png": RejectReason.BROKEN,
        "gone.png": RejectReason.MISSING,
        "C.png": RejectReason.FINDING,
    }
    lateral = next(reject for reject in rejects if reject.path.name == "lateral.png")
    assert (lateral.view, lateral.patient_id) == (View.LATERAL, "covid-chestxray:covid-2.png")


def test_a_kept_picture_says_all_about_itself(root):
    pictures, _ = collected(root, FRONTAL_VIEWS)
    assert [picture.id for picture in pictures] == sorted(picture.id for picture in pictures)
    covid = next(picture for picture in pictures if picture.id == "covid-chestxray/covid-3.png")
    assert (covid.label, covid.width, covid.height, covid.age) == (Label.COVID, 200, 240, 60)
    assert covid.sha256 == hashlib.sha256(covid.path.read_bytes()).hexdigest()


def test_other_views_can_be_asked_for(root):
    pictures, rejects = collected(root, {View.PA})
    assert {picture.source for picture in pictures} == {"covid-chestxray"}
    assert sum(reject.reason is RejectReason.VIEW for reject in rejects) == 3 + 20 + 3


def test_a_root_without_collections_is_an_error_that_names_the_folders(tmp_path):
    (tmp_path / "something").mkdir()
    with pytest.raises(ManifestError, match="Expected at least one of the folders covid-chestxray-dataset"):
        find_collections(tmp_path)


def test_a_picture_that_cannot_be_read_is_left_out(root, monkeypatch):
    plain = Path.open

    def refused(path, *given, **named):
        if path.name == "covid-3.png":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *given, **named)

    monkeypatch.setattr(Path, "open", refused)
    pictures, rejects = collected(root, FRONTAL_VIEWS)
    assert len(pictures) == 20 + 8 + 2 - 1
    (reject,) = (reject for reject in rejects if reject.path.name == "covid-3.png")
    assert reject.reason is RejectReason.BROKEN
    assert reject.detail == "Expected a readable image file. Received covid-3.png: Permission denied."


def test_two_files_of_one_name_are_an_error(root, tmp_path):
    grey = collect(root, FRONTAL_VIEWS)[0][0][1].thumbnail
    for part in ("train", "test"):
        save(tmp_path / "chest-xray-pneumonia" / "chest_xray" / part / "NORMAL" / "IM-0001-0001.jpeg", grey)
    with pytest.raises(ManifestError, match="Received twice: kermany/IM-0001-0001"):
        collect(tmp_path, FRONTAL_VIEWS)


def test_rejects_survive_a_file_and_a_move_of_the_whole(root, tmp_path):
    write_table(tmp_path / "a" / "actualmed" / "metadata.csv", [actualmed_row("gone", "COVID-19")])
    _, rejects = collected(tmp_path / "a", FRONTAL_VIEWS)
    write_rejects(rejects, tmp_path / "a" / "m.rejects.csv")
    assert read_rejects(tmp_path / "a" / "m.rejects.csv") == rejects
    (tmp_path / "a").rename(tmp_path / "b")
    assert (
        read_rejects(tmp_path / "b" / "m.rejects.csv")[0].path == tmp_path / "b" / "actualmed" / "images" / "gone.png"
    )
    for text in ("source,path\nx,y\n", f"{','.join(REJECT_COLUMNS)}\nx\n"):
        (tmp_path / "b" / "m.rejects.csv").write_text(text)
        with pytest.raises(ManifestError, match=r"m\.rejects\.csv"):
            read_rejects(tmp_path / "b" / "m.rejects.csv")


def test_a_collection_in_another_layout_is_an_error_that_names_the_expected_files(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    save(tmp_path / "COVID-19_Radiography_Dataset" / "NORMAL" / "NORMAL (1).png", chest(500))
    with pytest.raises(ManifestError, match=r"Expected \*/images/\*\.png in .*COVID-19_Radiography_Dataset.*no image"):
        collect(tmp_path, FRONTAL_VIEWS)


def actualmed(root, *rows):
    """Write a collection of radiographs with these rows, each a name, a finding and other cells."""
    written = [actualmed_row(name, finding, **more) for name, finding, more in rows]
    write_table(root / "actualmed" / "metadata.csv", written)
    for number, name in enumerate({name for name, *_ in rows}):
        save(root / "actualmed" / "images" / f"{name}.png", chest(number))
    pictures, rejects = collected(root, FRONTAL_VIEWS)
    return pictures, {reject.detail: reject.reason for reject in rejects}


def test_an_unknown_view_is_named_as_published_and_an_empty_one_is_called_so(tmp_path):
    _, rejects = actualmed(tmp_path, ("A", "COVID-19", {"view": "oblique"}), ("B", "COVID-19", {"view": ""}))
    assert {detail.split("Received ")[1] for detail in rejects} == {"'oblique'.", "an empty view."}


def test_images_without_a_patient_are_patients_of_their_own(tmp_path):
    pictures, _ = actualmed(tmp_path, *((name, "COVID-19", {"patientid": ""}) for name in "ABC"))
    assert len({picture.patient_id for picture in pictures}) == 3


def test_an_image_listed_twice_alike_counts_once(tmp_path):
    pictures, rejects = actualmed(tmp_path, ("A", "COVID-19", {}), ("A", "COVID-19", {}))
    assert (len(pictures), rejects) == (1, {})


def test_rows_that_contradict_each_other_are_rejected(tmp_path):
    """If they disagree on the class or view, no row is kept; otherwise, the first one is."""
    pictures, rejects = actualmed(
        tmp_path,
        *(("A", "COVID-19", {}), ("A", "No finding", {})),
        *(("B", "COVID-19", {"patientid": "1"}), ("B", "COVID-19", {"patientid": "2"})),
    )
    assert [(picture.id, picture.patient_id) for picture in pictures] == [("actualmed/B.png", "actualmed:1")]
    assert rejects == {
        "Expected one finding. Received 'COVID-19' and 'No finding'.": RejectReason.CONTRADICTION,
        "Expected one patient_id. Received '1' and '2'; the first counts.": RejectReason.CONTRADICTION,
    }
