import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from batch.conftest import many, rows
from covidcxr import DISCLAIMER
from covidcxr.batch import storage
from covidcxr.batch.run import LOCK, BatchOptions, run
from covidcxr.batch.sources import find
from covidcxr.batch.storage import names_in, parquet, whole, write
from covidcxr.cli import cli
from covidcxr.errors import BatchError, LockedError
from covidcxr.images.phantom import radiograph
from support.processes import eventually

pytestmark = pytest.mark.slow


def unwatched(plan, left, done):
    return done


@pytest.fixture
def batch(tmp_path, model_file):
    """Run a batch into tmp_path/out with the tiny model and one worker; give the summary."""

    def score(*sources, **options):
        options = {"out": str(tmp_path / "out"), "model": model_file, "workers": 1} | options
        return run(BatchOptions(sources=tuple(map(str, sources)), **options), unwatched)

    return score


def test_summary(batch, pictures, tmp_path, predictor):
    summary = batch(pictures)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert (summary["model"], summary["images"], summary["run"]["images"]) == (predictor.model, 5, 5)
    assert summary["labels"] == {"covid": 2, "normal": 1, "abstained": 1, "error": 1}
    assert summary["flags"] == {"uniform": 1}
    ((error, count),) = summary["errors"].items()
    assert (count, "Received FILE: " in error) == (1, True)
    found = rows(tmp_path / "out")
    for name in ("read_ms", "decode_ms", "predict_ms"):
        assert summary["ms_per_image"][name] == pytest.approx(sum(row[name] or 0 for row in found) / 5, rel=1e-5)
    counts = summary["histograms"]["grey_mean"]["counts"]
    assert sum(counts) == 4
    assert counts[int(100 * 90 / 255)] >= 1
    assert summary["reference"] is None
    assert summary["drift"] == {}


def test_a_finished_batch_is_not_done_again(batch, pictures, tmp_path):
    first = batch(pictures)
    part = tmp_path / "out" / "rows" / "part-000000.parquet"
    before = part.stat().st_mtime_ns
    again = batch(pictures)
    assert part.stat().st_mtime_ns == before
    assert again["run"]["images"] == 0
    assert {**again, "run": None} == {**first, "run": None}


def test_a_part_that_is_missing_is_made_again(batch, pictures, tmp_path):
    table = many(pictures, tmp_path, 60)
    batch(table)
    before = [row["path"] for row in rows(tmp_path / "out")]
    (tmp_path / "out" / "rows" / "part-000001.parquet").unlink()
    (tmp_path / "out" / "rows" / ".part-000001.1.part").write_text("half")
    assert batch(table)["run"]["images"] == 16
    assert [row["path"] for row in rows(tmp_path / "out")] == before == table.read_text().split()[1:]
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_another_model_or_other_options_are_refused(batch, pictures, plain_model_file, tmp_path):
    batch(pictures)
    for change in ({"model": plain_model_file}, {"maps": str(tmp_path / "maps")}):
        with pytest.raises(BatchError, match="with which the batch in"):
            batch(pictures, **change)
    with pytest.raises(BatchError, match="the sources with which"):
        batch(pictures / "below")


def test_two_commands_in_one_folder(batch, pictures, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match=r"Another process is using .*out"):
            batch(pictures)
    batch(pictures)


def test_maps_of_a_model_without_any(pictures, tmp_path, mapless_model_file):
    options = BatchOptions(
        sources=(str(pictures),), out=str(tmp_path / "out"), maps=str(tmp_path), model=mapless_model_file
    )
    with pytest.raises(BatchError, match="Expected a model with an activation map"):
        run(options, unwatched)
    assert not (tmp_path / "out").exists()


def test_results_need_a_folder(pictures, tmp_path, model_file):
    (tmp_path / "note.txt").write_text("no folder")
    options = BatchOptions(sources=(str(pictures),), out=str(tmp_path / "note.txt"), model=model_file)
    with pytest.raises(BatchError, match=r"Expected a folder for the results\. Received .*note\.txt"):
        run(options, unwatched)


def test_drift(batch, tmp_path):
    """Other images than those of the reference are noticed, in pixels and scores; the same kind is not."""
    rng = np.random.default_rng(0)
    drawn = radiograph(rng, size=(112, 112)).astype(int)
    for name, shift, images in (("reference", 0, 60), ("same", 0, 40), ("brighter", 90, 40)):
        (tmp_path / name).mkdir()
        for number in range(images):
            grey = drawn * rng.uniform(0.3, 0.6) + shift
            Image.fromarray(grey.astype(np.uint8)).save(tmp_path / name / f"{number}.png")
    batch(tmp_path / "reference", out=str(tmp_path / "r"))
    same = batch(tmp_path / "same", out=str(tmp_path / "s"), reference=str(tmp_path / "r"))
    other = batch(tmp_path / "brighter", out=str(tmp_path / "b"), reference=str(tmp_path / "r"))
    assert same["reference"]["images"] == 60
    assert {one["change"] for one in same["drift"].values()} == {"none"}
    assert {other["drift"][name]["change"] for name in ("grey_mean", "covid", "normal")} == {"shifted"}
    assert other["drift"]["grey_spread"]["change"] == "none"
    assert "<td>shifted</td>" in (tmp_path / "b" / "summary.html").read_text()
    assert "<td>shifted</td>" not in (tmp_path / "s" / "summary.html").read_text()


def test_a_reference_must_be_one(batch, pictures, tmp_path, plain_model_file):
    with pytest.raises(BatchError, match="folder of a finished batch"):
        batch(pictures, reference=str(tmp_path))
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(BatchError, match="summary of a batch"):
        batch(pictures, reference=str(tmp_path))
    batch(pictures, out=str(tmp_path / "r"), model=plain_model_file)
    with pytest.raises(BatchError, match="a reference made with the model"):
        batch(pictures, reference=str(tmp_path / "r"))


def test_the_page(batch, pictures, tmp_path):
    (tmp_path / "<b>").mkdir()
    (tmp_path / "<b>" / "x.png").touch()
    batch(pictures, tmp_path / "<b>")
    text = (tmp_path / "out" / "summary.html").read_text()
    assert DISCLAIMER in text
    assert "<b>" not in text
    assert "src=" not in text
    assert "<td>covid</td><td>2</td><td>33.33%</td>" in text
    plots = text.split("<svg ")[1:]
    assert len(plots) == 5
    for plot in plots:
        svg = "<svg>" + plot.split("</svg>")[0].partition(">")[2] + "</svg>"
        ElementTree.fromstring(
            svg.replace("class=batch", "class='batch'").replace("class=reference", "").replace("class=axis", "")
        )
        assert "<rect" in svg


def test_a_bucket_for_everything(batch, pictures, s3):
    for path in (pictures / "a-dark.png", pictures / "below" / "b-bright.jpg"):
        s3.upload_file(str(path), "xrays", f"all/in/{path.name}")
    out = {"out": "s3://xrays/all/out", "maps": "s3://xrays/all/maps"}
    assert batch("s3://xrays/all/in", **out)["labels"] == {"normal": 1, "covid": 1}
    assert batch("s3://xrays/all/in", **out)["run"]["images"] == 0
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket="xrays", Prefix="all/")["Contents"]}
    names = ["rows/part-000000.parquet", "plan.parquet", "summary.html", "summary.json"]
    assert keys == {
        *(f"all/out/{name}" for name in names),
        *("all/in/a-dark.png", "all/in/b-bright.jpg"),
        *("all/maps/000000/000000.png", "all/maps/000000/000001.png"),
    }


def test_a_bucket_of_google_for_everything(batch, pictures, gs):
    for path in (pictures / "a-dark.png", pictures / "below" / "b-bright.jpg", pictures / "below" / "e-broken.png"):
        write(f"{gs}/in/{path.name}", path.read_bytes())
    assert [item.path for item in find([f"{gs}/in/*.jpg"])] == [f"{gs}/in/b-bright.jpg"]
    out = {"out": f"{gs}/out", "maps": f"{gs}/maps"}
    assert batch(f"{gs}/in", **out)["labels"] == {"normal": 1, "covid": 1, "error": 1}
    assert batch(f"{gs}/in", **out)["run"]["images"] == 0
    assert names_in(f"{gs}/out") - {"rows"} == {"plan.parquet", "summary.html", "summary.json"}
    assert names_in(f"{gs}/out/rows") == {"part-000000.parquet"}
    assert names_in(f"{gs}/maps/000000") == {"000000.png", "000001.png"}
    with parquet(f"{gs}/out/rows/part-000000.parquet") as part:
        names = part.read(["path"])["path"].to_pylist()
    assert names == [f"{gs}/in/{name}" for name in ("a-dark.png", "b-bright.jpg", "e-broken.png")]


def test_what_cannot_be_read_in_a_list_is_a_row_and_not_the_end(batch, pictures, tmp_path, s3, monkeypatch):
    monkeypatch.setattr(storage, "PAUSES_S", (0.0, 0.0))
    lost = ["https://host/a.png", "ftp://host/b.tar", "s3://", "s3://xrays", "s3://no bucket/a.png", "s3://none/a.tar"]
    lost += ["gs://", "a\0b.png", "a\0b.tar", str(pictures)]
    image = str(pictures / "a-dark.png")
    pq.write_table(pa.table({"path": [name for other in lost for name in (other, image)]}), tmp_path / "list.parquet")
    summary = batch(tmp_path / "list.parquet")
    assert summary["labels"] == {"normal": len(lost), "error": len(lost)}
    errors = {row["path"]: row["error"] for row in rows(tmp_path / "out") if row["error"]}
    assert len(errors) == len(lost)
    for path, error in errors.items():
        assert "Expected" in error
        assert f"Received {path}" in error
    assert "with s3:// or gs:// before its name" in errors["https://host/a.png"]


def test_storage_that_fails_is_one_line(batch, pictures, s3):
    with pytest.raises(BatchError, match=r"The storage failed: .*NO_SUCH_BUCKET"):
        batch(pictures, out="s3://nowhere/out")


def test_command(pictures, tmp_path, model_file):
    arguments = ["batch", str(pictures), "--out", str(tmp_path / "out"), "--model", str(model_file), "--workers", "1"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "5 images, 5 of them in this run" in result.stdout
    assert "labels: covid 2, normal 1, abstained 1, error 1" in result.stdout
    assert DISCLAIMER in result.stdout


def test_a_terminal_shows_images_rate_and_time_left(pictures, tmp_path, model_file):
    table = many(pictures, tmp_path, 60)
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(tmp_path / "out"), "--workers", "1"]
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 120))
    process = subprocess.Popen([*command, "--model", str(model_file)], stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # which a terminal gives when the last program has left it
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    assert process.wait() == 0
    assert re.search(rb"60/60 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+image/s\]", shown)


def test_one_machine_needs_neither_ray_nor_training(pictures, tmp_path, model_file):
    program = f"""
from covidcxr.cli import cli
try:
    cli(["batch", {str(pictures)!r}, "--out", {str(tmp_path)!r}, "--model", {str(model_file)!r}, "--workers", "1"])
except SystemExit as end:
    assert not end.code, end.code
import sys
import termios
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "pyarrow" in loaded
    assert not loaded & {"ray", "tensorflow", "keras", "scipy", "sklearn", "matplotlib", "jinja2", "onnx"}


def test_kill_9_of_the_command_loses_and_doubles_nothing(pictures, tmp_path, model_file):
    images = 3000
    table = many(pictures, tmp_path, images)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--workers", "2"]
    command += ["--model", str(model_file)]
    first = subprocess.Popen(command)
    parts = wait_for_parts(out, first, 3)
    workers = psutil.Process(first.pid).children(recursive=True)
    assert workers
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone
    assert not alive
    written = {path: path.stat().st_mtime_ns for path in out.glob("rows/part-*.parquet")}
    total = pq.ParquetFile(out / "plan.parquet").num_row_groups
    assert len(parts) <= len(written) < total
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    now = images - sum(pq.ParquetFile(path).metadata.num_rows for path in written)
    assert f"{images} images, {now} of them in this run" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert [row["path"] for row in rows(out)] == table.read_text().split()[1:]
    assert not list(out.rglob(".*.part*"))


def wait_for_parts(out: Path, process: subprocess.Popen, count: int) -> list[Path]:
    """Return the parts as soon as there are so many, while the command is still at work."""

    def parts():
        found = list(out.glob("rows/part-*.parquet"))
        return found if len(found) >= count else []

    return eventually(parts, 180, process=process)  # a Ray cluster takes its time on a busy machine


def test_other_programs_read_the_folder_of_the_rows_as_one_table(batch, pictures, tmp_path):
    """Pandas reads the folder, DuckDB the files in it; a part that is being written is in no one's way."""
    table = many(pictures, tmp_path, 60)
    batch(table)
    folder = tmp_path / "out" / "rows"
    with whole(str(folder / "part-000099.parquet")) as partial:
        partial.write_text("half")
        frame = pandas.read_parquet(folder)
        columns = [*rows(tmp_path / "out")[0]]
        counts = duckdb.sql(f"select label, count(*) from '{folder}/*.parquet' group by label").fetchall()
    assert [*frame["path"]] == table.read_text().split()[1:]
    assert [*frame.columns] == columns
    assert frame["error"].notna().sum() == 20
    assert {label or "none": count for label, count in counts} == dict(frame["label"].fillna("none").value_counts())
