import json
import subprocess
import sys
from pathlib import Path

import pytest

from covidcxr._files import lock, whole, write_json
from covidcxr.errors import LockedError

HOLD = """
import sys
from pathlib import Path
from covidcxr._files import lock
held = lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
from pathlib import Path
from covidcxr._files import whole
print("before", flush=True)
with whole(Path(sys.argv[1])) as path, path.open("a") as file:
    file.write("content\\n")
print("after")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_appears_when_it_is_whole(tmp_path, sync):
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with whole(target, sync=sync) as partial:
        assert partial.suffix == ".onnx"
        assert partial.name.startswith(".")
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["model.onnx"]
    with whole(target, sync=sync, suffix="") as partial:
        assert partial.suffix == ".part"
        partial.touch()


@pytest.mark.parametrize("keep", [True, False])
def test_an_error_leaves_the_file_as_it_was(tmp_path, keep):
    target = tmp_path / ("é" * 120 + ".csv")
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError), whole(target, keep=keep) as partial:
        partial.write_text("half\udc80", "utf-8")
    assert target.read_text() == "old"
    assert partial.exists() is keep


def test_two_writers_do_not_disturb_each_other(tmp_path):
    with whole(tmp_path / "a") as first, whole(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "first"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("target")
    with whole(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError), whole(tmp_path) as path:
        path.write_text("text")


@pytest.mark.parametrize("name", ["/dev/stdout", "link"])
def test_standard_output_is_written_whatever_it_is(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    command = [sys.executable, "-c", WRITE, name if name.startswith("/") else str(tmp_path / name)]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stdout == "before\ncontent\nafter\n"
    out = tmp_path / "out"
    out.write_text("kept\n")
    with out.open("a") as file:
        subprocess.run(command, stdout=file, check=True)
    assert out.read_text() == "kept\nbefore\ncontent\nafter\n"
    assert Path("/dev/stdout").is_symlink()
    assert names(tmp_path) == ["link", "out"]


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "\\u00e9": [\n    1\n  ]\n}\n'
    write_json(tmp_path / "a.json", [1, 2], indent=None)
    assert (tmp_path / "a.json").read_text("utf-8") == "[1, 2]\n"
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == [1, 2]
    assert names(tmp_path) == ["a.json"]


def test_one_process_holds_a_lock_until_it_ends(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match=f"Another process is using {tmp_path}"):
            lock(tmp_path / "lock")
        other.kill()
    with lock(tmp_path / "lock"):
        pass
