import re
from collections import Counter

import pytest

from covidcxr.data.manifest import FRONTAL_VIEWS, View
from covidcxr.data.sources import SOURCES, GitHubArchive
from covidcxr.data.sources.base import parse_age, parse_sex, parse_view, read_rows
from covidcxr.errors import ManifestError
from covidcxr.labels import Label
from support.small_collections import actualmed_row, covid_chestxray_row, write_table


def read(name, folder):
    return list(SOURCES[name].read(folder))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_source_says_what_it_is():
    assert {source.name for source in SOURCES.values()} == set(SOURCES)
    assert len({source.folder for source in SOURCES.values()}) == len(SOURCES)
    assert [name for name, source in SOURCES.items() if source.external] == ["actualmed"]
    for name, source in SOURCES.items():
        assert name == source.name
        assert source.licence
        assert source.citation
        assert source.homepage.startswith("https://")
        if isinstance(source.download, GitHubArchive):
            assert re.fullmatch(r"[0-9a-f]{40}", source.download.commit)
            assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in source.download.content.values())
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+/versions/\d+", source.download.handle)


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", Label.COVID),
        ("COVID-19, ARDS", Label.COVID),
        ("Pneumonia/Viral/COVID-19", Label.COVID),
        ("SARS", Label.PNEUMONIA),
        ("Pneumonia/Fungal/Pneumocystis", Label.PNEUMONIA),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", Label.PNEUMONIA),
        ("Lipoid", Label.PNEUMONIA),
        ("No Finding", Label.NORMAL),
        ("ARDS", None),
        ("todo", None),
        ("Unknown", None),
        ("Tuberculosis", None),
        ("Pneumonia/Viral/Something new", None),
        ("", None),
    ],
)
def test_findings_of_covid_chestxray(finding, label):
    assert SOURCES["covid-chestxray"].label(finding) is label


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("No Finding", Label.NORMAL),
        ("Edema|Infiltration|Pneumonia", Label.PNEUMONIA),
        ("Pneumonia", Label.PNEUMONIA),
        ("Edema", None),
        ("Pneumothorax", None),
        ("Edema|No Finding", None),
    ],
)
def test_findings_of_nih_are_lists(finding, label):
    assert SOURCES["nih"].label(finding) is label


def test_covid_chestxray_reads_odd_columns_twice_listed_and_unlisted_files(tmp_path):
    rows = [
        covid_chestxray_row("a.png", "COVID-19", patientid="7", age="61.5", license=""),
        covid_chestxray_row("a.png", "COVID-19", patientid="8"),
        covid_chestxray_row("b.png", "Pneumonia/Viral/COVID-19", view="AP Supine", sex="F"),
        covid_chestxray_row("c.png", "COVID-19", view="Coronal", modality="CT"),
        covid_chestxray_row("d.png", "COVID-19", view="?"),
    ]
    write_table(tmp_path / "metadata.csv", rows)
    touch(tmp_path, "images/a.png", "images/new.png", "images/.hidden")
    listed = read("covid-chestxray", tmp_path)
    assert [item.patient_id for item in listed if item.path.name == "a.png"] == ["7", "8"]
    items = {item.path.name: item for item in listed[:1] + listed[2:]}
    assert list(items) == ["a.png", "b.png", "c.png", "d.png", "new.png"]
    assert (items["a.png"].patient_id, items["a.png"].age, items["a.png"].licence) == ("7", 61.5, "not stated")
    assert [item.view for item in items.values()] == [View.PA, View.AP_SUPINE, View.CT, View.UNKNOWN, View.UNKNOWN]
    assert items["b.png"].sex == "F"
    assert items["new.png"].finding == ""


def test_kermany_names_hold_patient_and_finding(tmp_path):
    touch(
        tmp_path / "chest_xray",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/PNEUMONIA/person7_bacteria_24.jpeg",
        "val/PNEUMONIA/person7_virus_3.jpeg",
        "test/NORMAL/NORMAL2-IM-0329-0001-0002.jpeg",
        "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
    )
    items = read("kermany", tmp_path)
    assert [(item.patient_id, item.finding) for item in items] == [
        ("IM-0115", "NORMAL"),
        ("person7", "PNEUMONIA bacteria"),
        ("person7", "PNEUMONIA virus"),
        ("NORMAL2-IM-0329", "NORMAL"),
    ]
    assert {item.view for item in items} == {View.AP}
    assert all(SOURCES["kermany"].label(item.finding) for item in items)


@pytest.mark.parametrize("table", ["Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"])
@pytest.mark.parametrize("folder", ["images", "images_002/images"])
def test_nih_reads_both_tables_and_both_layouts(tmp_path, table, folder):
    row = {"Image Index": "1.png", "Finding Labels": "No Finding", "Follow-up #": "0", "Patient ID": "5"}
    write_table(tmp_path / table, [row | {"Patient Age": "411", "Patient Gender": "F", "View Position": "PA"}])
    touch(tmp_path, f"{folder}/1.png")
    (item,) = read("nih", tmp_path)
    assert item.path == tmp_path / folder / "1.png"
    assert (item.patient_id, item.age, item.sex, item.view) == ("5", None, "F", View.PA)


def test_nih_without_a_table_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match=r"Expected Data_Entry_2017_v2020\.csv or"):
        read("nih", tmp_path)


def test_radiography_knows_where_its_pictures_come_from(tmp_path):
    names = ("COVID/images/COVID-3.png", "Normal/images/Normal-1341.png", "Normal/images/Normal-1342.png")
    touch(tmp_path, *names, "Viral Pneumonia/images/Viral Pneumonia-1.png", "Lung_Opacity/images/Lung_Opacity-1.png")
    items = {item.path.stem: item for item in read("radiography", tmp_path)}
    assert {stem: item.origin for stem, item in items.items() if stem != "Lung_Opacity-1"} == {
        "COVID-3": "radiography-covid",
        "Normal-1341": "kermany",
        "Normal-1342": "nih",
        "Viral Pneumonia-1": "kermany",
    }
    assert {item.view for item in items.values()} == {View.FRONTAL}
    assert len({item.patient_id for item in items.values()}) == len(items)
    assert SOURCES["radiography"].label(items["Lung_Opacity-1"].finding) is None


def test_covid_cxnet_with_a_byte_order_mark_and_blank_views(tmp_path):
    row = {"filename": "1.jpg", "patient_id": "9", "sex": "male", "age": "0.03", "view": "", "label": "COVID-19"}
    rows = [row, row | {"filename": "2.jpg", "view": "AP supine"}, row | {"filename": "3.jpg", "view": "L"}]
    write_table(tmp_path / "metadata.csv", rows, encoding="utf-8-sig")
    items = read("covid-cxnet", tmp_path)
    assert [item.view for item in items] == [View.FRONTAL, View.AP_SUPINE, View.LATERAL]
    assert (items[0].age, items[0].sex) == (0.03, "M")


def test_figure1_letters_are_pictures_of_one_patient(tmp_path):
    row = {"patientid": "COVID-00003a", "sex": "M", "age": "50+", "finding": "COVID-19", "view": "AP erect"}
    row |= {"modality": "X-ray", "notes": "38° “sat”"}
    rows = [row, row | {"patientid": "COVID-00003b", "view": ""}, row | {"patientid": "COVID-00004"}]
    write_table(tmp_path / "metadata.csv", rows, encoding="cp1252")
    touch(tmp_path, "images/COVID-00003a.jpg", "images/COVID-00003b.png")
    items = read("figure1", tmp_path)
    assert [item.patient_id for item in items] == ["COVID-00003", "COVID-00003", "COVID-00004"]
    assert [item.view for item in items] == [View.AP, View.UNKNOWN, View.AP]
    assert [item.path.name for item in items[:2]] == ["COVID-00003a.jpg", "COVID-00003b.png"]
    assert not items[2].path.exists()
    assert items[0].age is None


def test_actualmed_leaves_inconclusive_cases_without_a_finding(tmp_path):
    rows = [actualmed_row("A", "COVID-19"), actualmed_row("B", "No finding"), actualmed_row("C", "")]
    write_table(tmp_path / "metadata.csv", rows)
    source = SOURCES["actualmed"]
    assert [source.label(item.finding) for item in read("actualmed", tmp_path)] == [Label.COVID, Label.NORMAL, None]


@pytest.mark.parametrize(
    "content", [b"", b"patientid,age\n1,2\n", b"\xff\xfe\x00"], ids=["empty", "columns", "encoding"]
)
def test_broken_metadata_are_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=r"metadata\.csv"):
        read("actualmed", tmp_path)
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(ManifestError, match=r"metadata\.csv"):
        read("actualmed", tmp_path)


def test_short_rows_and_blank_lines_are_read(tmp_path):
    (tmp_path / "table.csv").write_text(" A ,b\n1\n\n 2 , 3 ,4\n")
    assert read_rows(tmp_path / "table.csv", ["a", "b"]) == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]


@pytest.mark.parametrize(
    ("text", "age"), [("61", 61), ("1.5", 1.5), ("0", 0), ("50+", None), ("early 40s", None), ("121", None), ("", None)]
)
def test_ages_are_plain_numbers_or_unknown(text, age):
    assert parse_age(text) == age


def test_views_and_sexes_outside_the_vocabulary_are_unknown():
    assert (parse_view("AP Erect"), parse_view("oblique"), parse_view("")) == (View.AP, View.UNKNOWN, View.UNKNOWN)
    assert (parse_sex("Female"), parse_sex("m"), parse_sex("x")) == ("F", "M", "")


@pytest.mark.real_data
def test_real_collections_give_their_known_counts(data_root):
    counts = {}
    for name, source in SOURCES.items():
        listed = {item.path: item for item in source.read(data_root / source.folder)}  # some are listed twice
        items = [item for item in listed.values() if item.path.is_file()]
        kept = [source.label(item.finding) for item in items if item.view in FRONTAL_VIEWS]
        counts[name] = Counter(label.value for label in kept if label)
    assert counts == {
        "covid-chestxray": {"covid": 343, "normal": 11, "pneumonia": 77},
        "kermany": {"normal": 320, "pneumonia": 320},
        "nih": {"normal": 288, "pneumonia": 250},
        "radiography": {"covid": 979, "normal": 1050},
        "covid-cxnet": {"covid": 398},
        "figure1": {"covid": 8},
        "actualmed": {"covid": 26, "normal": 18},
    }
