from dataclasses import replace

import pytest

from covidcxr.data.manifest import COLUMNS, View, data_hash, read_manifest, write_manifest
from covidcxr.errors import ManifestError


def test_what_is_written_is_read(records, tmp_path):
    some = [replace(records[0], age=None, finding='a, "b"\nc'), replace(records[1], age=0.03), *records[2:5]]
    write_manifest(some, tmp_path / "manifest.csv")
    found = read_manifest(tmp_path / "manifest.csv")
    assert [replace(record, path=record.path.resolve()) for record in found] == some
    assert data_hash(found) == data_hash(some)


def test_the_hash_does_not_depend_on_place_or_order(records, tmp_path):
    elsewhere = [replace(record, path=tmp_path / record.path.name) for record in reversed(records)]
    assert data_hash(elsewhere) == data_hash(records)
    assert data_hash(records[1:]) != data_hash(records)


@pytest.mark.parametrize(
    ("column", "value"),
    [("view", "lateral"), ("view", "sideways"), ("label", "healthy"), ("age", "-1"), ("sex", "x"), ("sha256", "12")],
)
def test_a_wrong_row_is_named_with_its_line(records, tmp_path, column, value):
    path = tmp_path / "manifest.csv"
    write_manifest(records[:3], path)
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[COLUMNS.index(column)] = value
    lines[2] = ",".join(cells)
    path.write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=r"line 3 of .*manifest\.csv"):
        read_manifest(path)


def test_missing_file_column_and_double_ids(records, tmp_path):
    with pytest.raises(ManifestError, match=r"no file at .*absent\.csv"):
        read_manifest(tmp_path / "absent.csv")
    path = tmp_path / "manifest.csv"
    path.write_text("id,path\n")
    with pytest.raises(ManifestError, match="split"):
        read_manifest(path)
    write_manifest([records[0], records[0]], path)
    with pytest.raises(ManifestError, match="twice"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [(b"s/a", "line 3 of"), (b"caf\xe9", "UTF-8"), (b"x" * 200_000, "field larger")],
    ids=["short", "latin-1", "long"],
)
def test_what_is_no_row_is_an_error_that_names_the_file(records, tmp_path, row, message):
    path = tmp_path / "manifest.csv"
    write_manifest(records[:1], path)
    path.write_bytes(path.read_bytes() + row)
    with pytest.raises(ManifestError, match=message) as error:
        read_manifest(path)
    assert str(path) in str(error.value)


def test_no_invalid_record_exists(records):
    with pytest.raises(ManifestError, match="view"):
        replace(records[0], view=View.CT)
    with pytest.raises(ManifestError, match="width"):
        replace(records[0], width=0)
