import os
from pathlib import Path

import pytest

from covidcxr.images.paths import ImagePath, expand, unique

DICOM = bytes(128) + b"DICM" + bytes(8)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder with images, files that are none, and things that a folder does not take."""
    files = {
        "b.PNG": b"",
        "a.jpg": b"",
        "notes.txt": b"text",
        "metadata.csv": b"",
        ".hidden.png": b"",
        "sub/c.tiff": b"",
        "sub/deep/d.dcm": b"",
        "sub/deep/IM000001": DICOM,
        "sub/deep/1.2.840.113619.2": DICOM,
        "sub/deep/README": b"no image " * 30,
        "sub/deep/DICOMDIR": DICOM,
        "sub/deep/IM000002.bak": DICOM,
        ".cache/e.png": b"",
        "none/notes.txt": b"",
    }
    for name, content in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path / "tree")
    return tmp_path / "tree"


IMAGES = ["a.jpg", "b.PNG", "sub/c.tiff", "sub/deep/1.2.840.113619.2", "sub/deep/IM000001", "sub/deep/d.dcm"]


def paths(*arguments):
    items = expand(arguments)
    assert all(item.error is None for item in items)
    return [item.path for item in items]


def test_a_folder_gives_the_images_below_it_sorted(tree):
    assert paths(".") == [f"./{name}" for name in IMAGES]
    assert paths(str(tree)) == [str(tree / name) for name in IMAGES]


def test_a_named_file_is_always_taken(tree):
    assert paths("notes.txt", "absent.png", "sub/deep/README") == ["notes.txt", "absent.png", "sub/deep/README"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*.*", ["a.jpg", "b.PNG", "metadata.csv", "notes.txt"]),
        ("sub/d*", ["sub/deep/1.2.840.113619.2", "sub/deep/IM000001", "sub/deep/d.dcm"]),
        ("**/*.dcm", ["sub/deep/d.dcm"]),
        ("[ab].*", ["a.jpg", "b.PNG"]),
    ],
)
def test_a_pattern_gives_what_it_matches(tree, pattern, expected):
    assert paths(pattern) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree):
    Path("x[1].png").touch()
    assert paths("x[1].png") == ["x[1].png"]


def test_arguments_keep_their_order_and_may_repeat(tree):
    Path("link.jpg").symlink_to("a.jpg")
    assert paths("sub/c.tiff", "*.jpg", "a.jpg", "./a.jpg") == ["sub/c.tiff", "a.jpg", "link.jpg", "a.jpg", "./a.jpg"]
    assert paths("sub", ".")[:5] == [*IMAGES[2:], "./a.jpg"]


def test_the_same_file_can_be_dropped(tree):
    Path("link.jpg").symlink_to("a.jpg")
    found = unique(expand(["a.jpg", "./a.jpg", "*.jpg", str(tree / "a.jpg"), "link.jpg"]))
    assert found == [ImagePath(path="./a.jpg")]
    assert len(unique(expand([".", "sub", "sub/../sub/c.tiff"]))) == len(IMAGES)
    broken = expand(["*.gif", "*.gif", "a.jpg"])
    assert [item.path for item in broken] == ["*.gif", "*.gif", "a.jpg"]
    assert [item.path for item in unique(broken)] == ["*.gif", "a.jpg"]


def test_links_to_folders_are_not_followed(tree):
    Path("sub/loop").symlink_to("..")
    assert paths("sub") == IMAGES[2:]


@pytest.mark.parametrize("argument", ["*.gif", "absent/*.png", "none"])
def test_what_leads_to_no_file_is_an_error(tree, argument):
    items = expand(["a.jpg", argument])
    assert ImagePath(path="a.jpg") in items
    (problem,) = (item for item in items if item.error)
    assert problem.path == argument
    assert "Expected" in problem.error
    assert argument in problem.error


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_folder_is_an_error(tree):
    Path("sub/deep").chmod(0)
    try:
        items = expand(["."])
    finally:
        Path("sub/deep").chmod(0o755)
    assert [item.path for item in items if item.error] == ["./sub/deep"]


def test_pipes_in_a_folder_are_left_out(tmp_path):
    (tmp_path / "a.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    found = [item.path for item in expand([str(tmp_path)], archives=(".tar",))]
    assert found == [str(tmp_path / name) for name in ("a.png", "broken.png")]
