import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from covidcxr import DISCLAIMER
from covidcxr.cli import cli
from covidcxr.images.decode import read_image
from covidcxr.images.phantom import radiograph
from covidcxr.labels import LABELS
from covidcxr.prediction.flags import TEXTS, FlagCode
from support.dicom_objects import dicom, write

NOTES = [
    "interval_low",
    "interval_high",
    "prediction_set",
    "abstained",
    "reason",
    "flags",
    "lung_share",
    "model",
    "audit",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three images (one dark, one bright, one uniform) and two files that are none; the working folder."""
    grey = radiograph(np.random.default_rng(0), size=(128, 128))
    (tmp_path / "xrays" / "more").mkdir(parents=True)
    Image.fromarray(grey // 4).save(tmp_path / "xrays" / "dark.png")
    Image.fromarray(150 + grey // 4).save(tmp_path / "xrays" / "more" / "bright.jpg")
    Image.fromarray(np.full_like(grey, 90)).save(tmp_path / "xrays" / "uniform.bmp")
    (tmp_path / "xrays" / "broken.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(model_file):
    def run(*arguments):
        return CliRunner().invoke(cli, ["predict", "--model", str(model_file), *map(str, arguments)])

    return run


def test_json(predict, folder, predictor):
    result = predict("xrays", "--json")
    objects = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [item["path"] for item in objects] == [
        "xrays/broken.png",
        "xrays/dark.png",
        "xrays/more/bright.jpg",
        "xrays/uniform.bmp",
    ]
    broken, *scored = objects
    assert list(broken) == ["path", "error"]
    assert "0 bytes" in broken["error"]
    for item in scored:
        keys = ["path", "label", "probabilities", "operating_points", "interval", "prediction_set"]
        keys += ["abstained", "reason", "flags", "lung_share", "model", "audit"]
        assert list(item) == keys
        expected = predictor.predict(read_image(folder / item["path"])).to_dict(item["path"])
        assert item == {**expected, "probabilities": pytest.approx(expected["probabilities"], abs=1e-5)}
    assert [item["label"] for item in scored] == ["normal", "covid", None]
    assert [item["operating_points"].get("balanced", {}).get("positive") for item in scored] == [False, True, None]
    assert (scored[2]["abstained"], scored[2]["reason"]) == (True, TEXTS[FlagCode.UNIFORM])


def test_csv(predict, folder, predictor):
    target = folder / "out.csv"
    target.write_text("old")
    result = predict("xrays", "notes.txt", "nothing*.png", "--csv", target)
    assert result.exit_code == 1
    assert "3 images scored, 3 errors" in result.stderr
    assert result.stdout == ""
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", *LABELS, "screening", "balanced", *NOTES, "error"]
    by_path = {row["path"]: row for row in rows}
    assert by_path["xrays/dark.png"]["label"] == "normal"
    assert by_path["xrays/dark.png"]["abstained"] == "false"
    calls = [[row["screening"], row["balanced"]] for row in by_path.values() if row["model"]]
    assert calls == [["false", "false"], ["true", "true"], ["", ""]]
    assert by_path["xrays/dark.png"]["model"] == predictor.model
    assert sum(float(by_path["xrays/dark.png"][name]) for name in ("normal", "pneumonia", "covid")) == pytest.approx(1)
    assert by_path["xrays/uniform.bmp"]["reason"] == TEXTS[FlagCode.UNIFORM]
    assert by_path["xrays/uniform.bmp"]["label"] == ""
    for path, reason in (("xrays/broken.png", "0 bytes"), ("notes.txt", "none of these"), ("nothing*.png", "pattern")):
        assert reason in by_path[path]["error"]
        assert not any(value for key, value in by_path[path].items() if key not in ("path", "error"))
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "out.csv", "xrays"]


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_every_argument_has_its_entry_in_order(predict, folder, option):
    given = [
        "xrays/uniform.bmp",
        "notes.txt",
        "xrays/dark.png",
        "absent.png",
        "xrays/dark.png",
        "nothing*.png",
        "notes.txt",
    ]
    result = predict(*given, option, *(["out.csv"] if option == "--csv" else []))
    assert result.exit_code == 1
    if option == "--csv":
        with Path("out.csv").open(newline="", encoding="utf-8") as file:
            entries = list(csv.DictReader(file))
    else:
        entries = json.loads(result.stdout)
    assert [entry["path"] for entry in entries] == given
    assert [bool(entry.get("error")) for entry in entries] == [False, True, False, True, False, True, True]
    assert entries[2] == entries[4]


def test_csv_on_standard_output_is_printed(folder, model_file):
    command = [COMMAND, "predict", "xrays/dark.png", "--model", model_file, "--csv"]
    done = subprocess.run([*command, "/dev/stdout"], capture_output=True, text=True, check=True)
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert row["label"] == "normal"
    assert Path("/dev/stdout").is_symlink()
    Path("log").write_text("before\n")
    with Path("log").open("a") as file:
        subprocess.run([*command, "/dev/stdout"], stdout=file, stderr=subprocess.PIPE, check=True)
    assert Path("log").read_text() == "before\n" + done.stdout
    os.mkfifo("pipe")
    with subprocess.Popen([*command, "pipe"], stderr=subprocess.PIPE) as process:
        assert Path("pipe").read_text() == done.stdout
        process.communicate(timeout=60)
    assert Path("pipe").is_fifo()


def test_csv_of_a_model_without_operating_points(folder, plain_model_file):
    arguments = ["predict", "xrays/dark.png", "notes.txt", "--csv", "out.csv", "--model", str(plain_model_file)]
    assert CliRunner().invoke(cli, arguments).exit_code == 1
    head, *rows = csv.reader(Path("out.csv").read_text(encoding="utf-8").splitlines())
    assert head == ["path", "label", *LABELS, *NOTES, "error"]
    assert [len(row) for row in rows] == [len(head)] * 2


def test_table(predict, folder):
    result = predict("xrays/dark.png", "xrays/more/bright.jpg", "xrays/uniform.bmp", "notes.txt")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert result.stdout.count(DISCLAIMER) == 1
    (head,) = (line for line in lines if line.startswith("label"))
    rows = lines[lines.index(head) + 1 :]
    assert head.split() == ["label", "normal", "pneumonia", "covid", "file"]
    place = head.index("file")
    assert [row[place:] for row in rows[:-1]] == [
        "xrays/dark.png",
        "xrays/more/bright.jpg",
        f"xrays/uniform.bmp ({TEXTS[FlagCode.UNIFORM]})",
    ]
    assert [row.split()[0] for row in rows] == ["normal", "covid", "abstained", "error"]
    assert "notes.txt: the content is none of these" in rows[-1]


def test_exit_status_is_0_when_all_is_well(predict, folder):
    assert predict("xrays/dark.png").exit_code == 0
    assert predict("xrays/d*.png", "--json").exit_code == 0


def test_heatmaps_never_share_a_name(predict, folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.open(folder / "xrays" / "dark.png").save(folder / name / "same.png")
    result = predict("a", "b", "xrays", "--heatmap", "maps/deep")
    assert result.exit_code == 1
    names = sorted(path.name for path in (folder / "maps" / "deep").iterdir())
    assert len(names) == 4  # none of the uniform and the broken one
    assert len({name for name in names if name.startswith("same.png.")}) == 2
    for path in (folder / "maps" / "deep").iterdir():
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
    predict("./a/same.png", "--heatmap", "maps/deep")
    assert sorted(path.name for path in (folder / "maps" / "deep").iterdir()) == names


@pytest.mark.parametrize("name", ["胸" * 80 + ".png", "x" * 249 + ".png", "é" + "胸" * 80 + ".png", "caf\udce9.png"])
def test_heatmaps_of_names_of_any_length(predict, folder, name):
    (folder / "long").mkdir()
    shutil.copy(folder / "xrays" / "dark.png", folder / "long" / name)
    assert predict("long", "--heatmap", "maps", "--json").exit_code == 0
    (drawn,) = (path.name for path in (folder / "maps").iterdir())
    kept = drawn[: -len(".0123456789abcdef.png")]
    assert name.startswith(kept)
    assert kept == name or 198 <= len(os.fsencode(kept)) <= 200


def test_a_heatmap_that_cannot_be_written_does_not_end_the_others(predict, folder):
    Image.open("xrays/dark.png").save("xrays/other.png")
    predict("xrays/dark.png", "--heatmap", "maps")
    (blocked,) = (folder / "maps").iterdir()
    blocked.unlink()
    blocked.mkdir()
    result = predict("xrays/dark.png", "xrays/other.png", "--heatmap", "maps", "--json")
    assert result.exit_code == 1
    assert f"Cannot write {Path('maps') / blocked.name}: Is a directory." in result.stderr
    assert [item["label"] for item in json.loads(result.stdout)] == ["normal"] * 2
    assert len(list((folder / "maps").glob("other.png.*.png"))) == 1


def test_more_files_than_a_batch_come_in_order(predict, folder):
    grey = np.asarray(Image.open("xrays/dark.png"))
    (folder / "many").mkdir()
    for number in range(19):
        Image.fromarray(np.minimum(grey * 4, 255 - number)).save(folder / "many" / f"{number:02}.png")
    (folder / "many" / "05.png").write_bytes(b"broken")
    objects = json.loads(predict("many", "--json").stdout)
    assert [item["path"] for item in objects] == [f"many/{number:02}.png" for number in range(19)]
    assert [number for number, item in enumerate(objects) if "error" in item] == [5]
    covid = [item["probabilities"]["covid"] for item in objects if "error" not in item]
    assert covid == sorted(covid, reverse=True), "each image has its own prediction"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.png", "--json", "--csv", "out.csv"], "one of --json and --csv"),
        ([], "PATH"),
        (["xrays/dark.png", "--csv", "absent/out.csv"], "absent/out.csv"),
        (["xrays/dark.png", "--heatmap", "notes.txt/maps"], "notes.txt"),
    ],
)
def test_impossible_options_are_refused(predict, folder, arguments, message):
    result = predict(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


COMMAND = Path(sys.executable).with_name("covidcxr")


def test_maps_of_a_model_without_any(folder, mapless_model_file):
    done = subprocess.run(
        [COMMAND, "predict", "xrays", "--heatmap", "maps", "--model", mapless_model_file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Expected a model with activation maps." in done.stderr
    assert not Path("maps").exists()


def test_the_real_command(folder, model_file):
    done = subprocess.run(
        [COMMAND, "predict", "xrays", "--json", "--model", model_file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 4
    assert done.stderr == ""


def test_harmless_flaws_are_not_printed(folder, model_file):
    grey = radiograph(np.random.default_rng(0), size=(128, 128))
    Path("sloppy.dcm").write_bytes(write(dicom(grey, PixelData=grey.tobytes() + bytes(1000))))  # pydicom warns of it
    command = [COMMAND, "predict", "sloppy.dcm", "--model", model_file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sloppy.dcm" in done.stdout
    assert done.stderr == ""


def interrupted(model_file, *options):
    """Run the command on eight images and a pipe that never ends, and interrupt it when it waits for the pipe."""
    dark = Path("xrays/dark.png").read_bytes()
    Path("many").mkdir()
    for number in range(8):
        Path(f"many/{number}.png").write_bytes(dark)
    os.mkfifo("many/pipe.png")
    command = [COMMAND, "predict", "many", "many/pipe.png", "--model", model_file, *options]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        Path("many/pipe.png").open("wb"),  # waits for the reader
    ):
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "8 of 9 files are done" in stderr
    assert "Traceback" not in stderr
    return stdout, stderr


def test_an_interrupted_list_is_whole(folder, model_file):
    stdout, _ = interrupted(model_file, "--json")
    assert [item["label"] for item in json.loads(stdout)] == ["normal"] * 8


def test_an_interrupted_table_is_kept_apart(folder, model_file):
    Path("out.csv").write_text("old")
    _, stderr = interrupted(model_file, "--csv", "out.csv")
    assert Path("out.csv").read_text() == "old"
    (partial,) = Path().glob(".out.*.part.csv")
    assert f"{partial} holds the files that are done" in stderr
    assert len(partial.read_text().splitlines()) == 9
