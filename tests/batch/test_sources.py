import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.conftest import many
from covidcxr.batch.sources import find, is_archive, is_image_name
from covidcxr.errors import BatchError

NAMES = ["a-dark.png", "below/b-bright.jpg", "below/c-deep.dcm", "below/d-uniform.bmp", "below/e-broken.png"]


def paths(*arguments):
    found = list(find([str(argument) for argument in arguments]))
    assert all(item.error is None for item in found)
    return [item.path for item in found]


def test_a_folder(pictures, archive, monkeypatch):
    assert paths(pictures) == [f"{pictures}/{name}" for name in NAMES]
    monkeypatch.chdir(pictures)
    assert paths("below", "a-dark.png", "below") == [f"{pictures}/{name}" for name in NAMES]
    assert paths("**/*.dcm") == [f"{pictures}/below/c-deep.dcm"]
    assert paths(archive.parent) == [str(archive)]


def test_tar_files_come_as_images_do(archive, tmp_path):
    for name in ("x/b.tar", "x/.hidden/c.tar", "x/.d.tar", "y.tgz/e.TAR.GZ"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(archive.read_bytes())
    (tmp_path / "x" / "link.tar").symlink_to("b.tar")
    expected = [f"{tmp_path}/x/b.tar", f"{tmp_path}/y.tgz/e.TAR.GZ"]
    assert paths(tmp_path, tmp_path / "x", tmp_path / "x" / "b.tar", f"{tmp_path}/*") == expected
    assert paths(f"{tmp_path}/*") == expected


def test_what_leads_to_nothing_is_an_entry_with_an_error(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    image = next(item.path for item in find([str(pictures)]))
    found = {item.path: item.error for item in find([image, str(tmp_path / "empty"), str(tmp_path / "*.png")])}
    assert found.pop(image) is None
    assert "match the pattern" in found[str(tmp_path / "*.png")]
    assert "folder with images" in found[str(tmp_path / "empty")]


@pytest.mark.parametrize("name", ["", "missing.png", "*.png"], ids=["empty folder", "missing", "pattern"])
def test_where_all_lead_to_nothing_there_is_no_plan(tmp_path, name):
    with pytest.raises(BatchError, match=r"Expected .* Received .*"):
        list(find([str(tmp_path / name)]))


def test_rows_of_a_list_without_a_path(tmp_path):
    pq.write_table(pa.table({"path": ["/a.png", None, ""]}), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text("id,path\n1,/a.png\n2\n3,\n")
    for name in ("list.parquet", "list.csv"):
        first, *others = find([str(tmp_path / name)])
        assert (first.path, first.error) == ("/a.png", None)
        assert [f"none in row {row} of" in item.error for row, item in enumerate(others, 2)] == [True, True]


def test_lists_by_pattern_and_in_capitals(tmp_path):
    for name, row in (("1.csv", "/a.png"), ("2.CSV", "/b.png")):
        (tmp_path / name).write_text(f"path\n{row}\n")
    assert [item.path for item in find([str(tmp_path / "*.csv"), str(tmp_path / "2.CSV")])] == ["/a.png", "/b.png"]


def test_lists_keep_order_and_repetitions(pictures, tmp_path):
    table = many(pictures, tmp_path, 7)
    first = [str(pictures / name) for name in (NAMES[0], NAMES[1], NAMES[4])]
    assert paths(table) == [*first, *first, first[0]]
    table.write_text("\ufeff" + table.read_text())  # as spreadsheets write it
    assert paths(table) == [*first, *first, first[0]]
    relative = pa.table({"id": [1, 2], "path": ["x/1.png", "s3://xrays/2.png"]})
    pq.write_table(relative, tmp_path / "list.parquet")
    assert paths(tmp_path / "list.parquet") == [f"{tmp_path}/x/1.png", "s3://xrays/2.png"]


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b"file\nx.png\n"), ("b.csv", b"path\n\xff\n"), ("c.parquet", b"no")]
)
def test_a_list_that_is_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match=f"column 'path'.*{name}"):
        paths(tmp_path / name)
    with pytest.raises(BatchError, match=r"missing\.csv"):
        paths(tmp_path / "missing.csv")


@pytest.mark.parametrize("suffix", ["png", "tar"])
def test_a_name_that_is_no_text(tmp_path, suffix):
    (tmp_path / os.fsdecode(b"\xff." + suffix.encode())).touch()
    (item,) = find([str(tmp_path)])
    assert "file name in UTF-8" in item.error
    assert item.path == f"{tmp_path}/\\xff.{suffix}"


def test_a_bucket(s3, pictures):
    keys = ["in/a.png", "in/b/1.2.840", "in/b/c.dcm", "in/b/d.json", "in/b/e.tar", "in/.hidden.png", "in/f?.png"]
    for key in keys:
        s3.put_object(Bucket="xrays", Key=key, Body=b"")
    assert paths("s3://xrays/in") == paths("s3://xrays/in/")
    assert paths("s3://xrays/in") == [
        f"s3://xrays/in/{name}" for name in ("a.png", "b/1.2.840", "b/c.dcm", "b/e.tar", "f?.png")
    ]
    assert paths("s3://xrays/in/a.png") == ["s3://xrays/in/a.png"]
    assert paths("s3://xrays/in/*.dcm", "s3://xrays/i[mn]/a*") == ["s3://xrays/in/b/c.dcm", "s3://xrays/in/a.png"]
    (nothing,) = find(["s3://xrays/nowhere/"])
    assert "images below s3://xrays/nowhere/" in nothing.error
    s3.put_object(Bucket="xrays", Key="lists/list.csv", Body=b"path\n../in/a.png\n")
    assert paths("s3://xrays/lists/list.csv") == ["s3://xrays/in/a.png"]
    with pytest.raises(BatchError, match=r"a list with a column 'path'.*none\.csv"):
        paths("s3://xrays/lists/none.csv")


def test_names():
    assert is_archive("A.TAR")
    assert is_archive("a.tar.gz")
    assert not is_archive("a.png")
    assert is_image_name("x/A.PNG")
    assert is_image_name("1.2.840.10008")
    assert not is_image_name("._a.png")
    assert not is_image_name("a.json")
    assert not is_image_name("SUCCESS")
