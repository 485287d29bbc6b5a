import io
import tarfile
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from PIL import Image

from batch.conftest import many, rows
from covidcxr.batch import reading, scoring
from covidcxr.batch.plan import make_plan
from covidcxr.batch.reading import AHEAD, BLOCK, EARLY, files
from covidcxr.batch.scoring import DECODED, ShardScorer, row_schema
from covidcxr.batch.sources import find
from covidcxr.batch.storage import read
from covidcxr.errors import BatchError
from covidcxr.images.decode import MAX_BYTES, decode_image, read_image
from covidcxr.images.paths import HEAD, ImagePath
from covidcxr.labels import LABELS
from covidcxr.prediction.predictor import Predictor


@pytest.fixture
def score(job, settings, predictor):
    """Score sources as the first shard of a batch; return what is said of it and the rows."""

    def run(*sources, maps=None):
        make_plan(job.out, settings.__class__(sources=sources, model=settings.model, maps=maps), find(sources))
        return ShardScorer(job, predictor)(0), rows(job.out)

    return run


def test_rows_say_what_the_predictor_says(score, pictures, predictor):
    done, found = score(str(pictures))
    assert (done.shard, done.images, done.errors) == (0, 5, 1)
    assert [row["position"] for row in found] == [0, 1, 2, 3, 4]
    for row in found[:4]:
        expected = predictor.predict(read_image(pictures / row["path"]))
        assert [row[label] for label in LABELS] == pytest.approx([*expected.probabilities.values()], abs=1e-6)
        assert row["label"] == expected.label
        assert {name: row[name] for name in expected.operating_points} == {
            name: call.positive for name, call in expected.operating_points.items()
        }
        assert (row["reason"], row["error"], row["model"]) == (expected.reason, None, predictor.model)
        assert row["flags"] == [flag.code for flag in expected.flags]
        assert (row["width"], row["height"]) == (112, 128)
        assert min(row["read_ms"], row["decode_ms"], row["predict_ms"]) > 0
    assert [row["label"] for row in found] == ["normal", "covid", "covid", None, None]
    assert found[3]["grey_mean"] == 90
    assert found[3]["grey_spread"] == 0
    assert found[1]["grey_mean"] > found[0]["grey_mean"] + 100


def test_a_broken_file_is_a_row_with_its_error(score, pictures):
    _, found = score(str(pictures), str(pictures / "missing.png"), str(pictures / "*.none"))
    broken = [row for row in found if row["error"]]
    errors = {row["path"]: row["error"] for row in broken}
    assert len(found) == 7
    assert "Expected a PNG" in errors[str(pictures / "below" / "e-broken.png")]
    assert "No such file" in errors[str(pictures / "missing.png")]
    assert "match the pattern" in errors[str(pictures / "*.none")]
    for row in broken:
        said = set(row) - {"shard", "position", "path", "error", "model", "read_ms"}
        assert not any(row[name] for name in said)


def test_a_tar_file(score, pictures, archive):
    done, found = score(str(archive))
    assert (done.images, done.errors) == (5, 1)
    assert [row["member"] for row in found] == [f"./{path.name}" for path in sorted(pictures.rglob("*.*"), key=str)]
    assert {row["path"] for row in found} == {str(archive)}
    assert [row["label"] for row in found] == ["normal", "covid", "covid", None, None]
    assert f"{archive}:./e-broken.png" in found[4]["error"]


def test_a_tar_file_that_ends_early_keeps_what_it_had(score, archive, tmp_path):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:4096])
    done, (*_, last) = score(str(cut))
    assert done.errors == 1
    assert "Expected a whole tar file" in last["error"]
    assert last["member"] is None


def test_names_in_a_tar_file_that_are_no_text(score, pictures, tmp_path):
    picture = (pictures / "a-dark.png").read_bytes()
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as tar:
        for name in ("caf\u00e9.png", "b.png"):
            add(tar, name, picture)
    _, found = score(str(tmp_path / "x.tar"))
    assert [row["member"] for row in found] == ["caf\\xe9.png", "b.png"]


@pytest.mark.parametrize("header", [{"GNU.sparse.map": "abc"}, {"GNU.sparse.size": "abc"}])
def test_a_broken_header_in_a_tar_file_keeps_what_came_before(score, pictures, tmp_path, header):
    picture = (pictures / "a-dark.png").read_bytes()
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "a.png", picture)
        add(tar, "b.png", picture, header)
    done, (first, last) = score(str(tmp_path / "x.tar"))
    assert (done.images, done.errors) == (2, 1)
    assert (first["member"], first["label"]) == ("a.png", "normal")
    assert f"Expected a whole tar file. Received {tmp_path}/x.tar: " in last["error"]
    assert "Read 1 images before" in last["error"]


def add(tar, name, content, pax_headers=None):
    member = tarfile.TarInfo(name)
    member.size, member.pax_headers = len(content), pax_headers or {}
    tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("content", [b"", b"no tar file" * 99])
def test_what_is_no_tar_file(score, tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    done, (row,) = score(str(tmp_path / "x.tar"))
    assert done.errors == 1
    assert "tar file" in row["error"]


def test_a_bucket_gives_the_same_rows(score, s3, pictures, job):
    names = sorted(pictures.rglob("*.*"), key=str)
    for path in names:
        s3.upload_file(str(path), "xrays", f"pictures/{path.name}")
    _, found = score("s3://xrays/pictures")
    assert [row["path"] for row in found] == [f"s3://xrays/pictures/{path.name}" for path in names]
    assert [row["label"] for row in found] == ["normal", "covid", "covid", None, None]


def test_a_tar_file_in_a_bucket(score, s3, archive):
    s3.upload_file(str(archive), "xrays", "shards/000.tar")
    _, found = score("s3://xrays/shards")
    assert {row["path"] for row in found} == {"s3://xrays/shards/000.tar"}
    assert [row["label"] for row in found] == ["normal", "covid", "covid", None, None]


def test_maps(score, pictures, tmp_path):
    maps = tmp_path / "maps"
    _, found = score(str(pictures), maps=str(maps))
    assert [bool(row["map"]) for row in found] == [True, True, True, False, False]
    assert found[1]["map"] == str(maps / "000000" / "000001.png")
    with Image.open(found[1]["map"]) as drawn:
        assert (drawn.mode, drawn.size) == ("RGB", (112, 128))
    assert len(list(maps.rglob("*"))) == 1 + 3


def test_columns_are_the_same_whatever_the_rows_hold(score, predictor, job, tmp_path):
    (tmp_path / "empty.png").touch()
    score(str(tmp_path / "empty.png"))
    assert pq.read_schema(f"{job.out}/rows/part-000000.parquet").equals(row_schema(predictor.artifact))


def test_another_model_is_refused(job, settings, plain_model_file):
    make_plan(job.out, settings, [ImagePath(path="a.png")])
    with pytest.raises(BatchError, match=r"the model brightness@\w+ on every machine. Received brightness@"):
        ShardScorer(job, Predictor.load(plain_model_file))


def test_batches_of_the_network(pictures, tmp_path, job, settings, predictor, monkeypatch):
    sizes = []
    original = Predictor.predict_many
    monkeypatch.setattr(
        Predictor, "predict_many", lambda self, greys: (sizes.append(len(greys)), original(self, greys))[1]
    )
    table = many(pictures, tmp_path, 400)
    plan = make_plan(job.out, settings, find([str(table)]))
    scorer = ShardScorer(job, predictor)
    assert [scorer(shard).images for shard in range(plan.shards)] == plan.rows
    assert max(sizes) <= DECODED
    assert [row["path"] for row in rows(job.out)] == table.read_text().split()[1:]


def test_files_are_decoded_as_they_are_taken(score, pictures, monkeypatch):
    """Sixteen large files must not lie in memory until the first one is decoded."""
    taken = []

    def take(items):
        for file in files(items):
            taken.append(file.path)
            yield file

    def decode(data, name):
        assert taken[-1] == name
        return decode_image(data, name)

    monkeypatch.setattr(scoring, "files", take)
    monkeypatch.setattr(scoring, "decode_image", decode)
    done, _ = score(str(pictures))
    assert done.images == len(taken) == 5


def test_of_large_files_only_a_part_is_read_ahead(tmp_path, monkeypatch):
    limits = {}

    def note(name, limit):
        limits.setdefault(name, []).append(limit)
        return read(name, limit)

    monkeypatch.setattr(reading, "EARLY", 100)
    monkeypatch.setattr(reading, "read", note)
    sizes = {str(tmp_path / f"{number}.png"): 60 * number for number in range(5)}
    for path, size in sizes.items():
        Path(path).write_bytes(bytes(size))
    found = list(files([ImagePath(path=path) for path in sizes]))
    assert {file.path: len(file.data) for file in found} == sizes
    assert [*limits.values()] == [[101], [101], *3 * [[101, MAX_BYTES + 1]]]
    assert AHEAD * EARLY <= MAX_BYTES


@pytest.mark.parametrize("block", [700, BLOCK])
def test_of_a_tar_file_blocks_are_read_ahead_and_images_in_their_turn(pictures, archive, monkeypatch, block):
    members = {}
    extract = tarfile.TarFile.extractfile

    def extractfile(self, member):
        content = extract(self, member)
        members[member.name] = Mock(side_effect=content.read)
        return Mock(read=members[member.name])

    monkeypatch.setattr(reading, "BLOCK", block)
    monkeypatch.setattr(tarfile.TarFile, "extractfile", extractfile)
    for number, file in enumerate(files([ImagePath(path=str(archive))])):
        assert file.data == next(pictures.rglob(file.member[2:])).read_bytes()
        time.sleep(0.02)
        assert len(members) == 1 + 2 * number
    asked = {name: [call.args[0] for call in reads.call_args_list] for name, reads in members.items()}
    assert len(asked) == 10
    for name, sizes in asked.items():
        assert sizes == ([HEAD] if name.endswith(".json") else [HEAD, MAX_BYTES + 1 - HEAD])


def test_no_more_than_a_few_files_wait_in_memory(pictures, monkeypatch):
    """The reader must not run away from the network, however many files a shard has."""
    taken, most, lock = 0, 0, threading.Lock()
    read = 0

    def count(name, limit):
        nonlocal read, most
        with lock:
            read += 1
            most = max(most, read - taken)
        return b""

    monkeypatch.setattr(reading, "read", count)
    for _ in files([ImagePath(path=f"{number}.png") for number in range(200)]):
        taken += 1
        time.sleep(0.001)
    assert taken == read == 200
    assert 2 <= most <= AHEAD
