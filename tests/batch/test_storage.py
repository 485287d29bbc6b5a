import threading
from contextlib import suppress

import pytest

from covidcxr import _files
from covidcxr.batch import storage
from covidcxr.batch.storage import exists, join, names_in, opened, read, remove_partial, whole, write
from covidcxr.errors import BatchError


def fail_half_way(name):
    with whole(name) as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    name = str(tmp_path / "new" / "part")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(name)
    assert names_in(str(tmp_path / "new")) == set()
    write(name, b"old")
    with whole(name) as path:
        path.write_bytes(b"new")
        assert read(name, 10) == b"old"
    assert read(name, 10) == b"new"
    assert read(name, 2) == b"ne"
    assert names_in(str(tmp_path / "new")) == {"part"}


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(_files, "_sync", lambda path, _: synced.append((path.name, (tmp_path / "part").exists())))
    write(str(tmp_path / "part"), b"content")
    (partial, named), (folder, named_then) = synced
    assert partial.startswith(".part.")
    assert (named, folder, named_then) == (False, tmp_path.name, True)


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path):
    name = str(tmp_path / "part")
    with whole(name) as first:
        first.write_bytes(b"first")
        with whole(name) as second:
            second.write_bytes(b"second")
    assert read(name, 10) == b"first"


def test_what_killed_writers_left_is_removed(tmp_path):
    for killed in ("part-000001.parquet", "note"):
        with suppress(KeyboardInterrupt), _files.whole(tmp_path / killed, keep=True, suffix="") as path:
            path.touch()
            raise KeyboardInterrupt
    kept = {"part-000000.parquet", ".theirs.parquet"}
    for name in kept:
        (tmp_path / name).touch()
    assert len(names_in(str(tmp_path))) == 4
    remove_partial(str(tmp_path))
    assert names_in(str(tmp_path)) == kept
    remove_partial(str(tmp_path / "nowhere"))


def test_a_bucket(s3):
    folder = join("s3://xrays/out/", "deep er")
    assert names_in(folder) == set()
    assert not exists(join(folder, "part"))
    write(join(folder, "part"), b"content")
    assert exists(join(folder, "part"))
    assert names_in(folder) == {"part"}
    assert read("s3://xrays/out/deep er/part", 4) == b"cont"
    with opened(join(folder, "part")) as file:
        assert file.read(3) == b"con"
    with pytest.raises(ZeroDivisionError):
        fail_half_way(join(folder, "part"))
    assert s3.get_object(Bucket="xrays", Key="out/deep er/part")["Body"].read() == b"content"
    with pytest.raises(FileNotFoundError):
        read(join(folder, "nothing"), 10)


def test_a_store_that_is_busy_is_asked_again(monkeypatch):
    pauses, answers = [], [OSError("slow down"), OSError("slow down"), b"content"]

    def answer(name, limit):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(storage, "_read", answer)
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    assert read("s3://xrays/a.png", 10) == b"content"
    assert pauses == list(storage.PAUSES_S)
    answers = [OSError("slow down")] * 3
    with pytest.raises(OSError, match="slow down"):
        read("s3://xrays/a.png", 10)
    answers = [FileNotFoundError("gone")]
    with pytest.raises(FileNotFoundError):
        read("s3://xrays/a.png", 10)


def test_other_stores_are_refused():
    with pytest.raises(BatchError, match=r"with s3:// or gs:// before its name\. Received ftp://host/a\.png"):
        read("ftp://host/a.png", 1)


def test_threads_share_a_store(s3):
    write("s3://xrays/shared", b"content")
    found = []
    threads = [threading.Thread(target=lambda: found.append(read("s3://xrays/shared", 9))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"content"] * 8
