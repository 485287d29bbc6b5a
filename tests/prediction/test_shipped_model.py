"""The model that comes with the package: its contract, and the same numbers by every way to it."""

import io
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from covidcxr.cli import cli
from covidcxr.data.sources import SOURCES
from covidcxr.images.decode import read_image
from covidcxr.images.phantom import radiograph
from covidcxr.labels import LABELS
from covidcxr.prediction.predictor import Predictor
from covidcxr.web.app import create_app
from support.uploads import dicom

MAX_BYTES = 16_000_000
PARITY = 1e-5


@pytest.fixture(scope="module")
def shipped():
    return Predictor.load()


def test_the_contract(shipped):
    path = Path(str(files("covidcxr") / "assets" / "covidcxr.onnx"))
    assert path.stat().st_size < MAX_BYTES
    assert shipped.artifact.labels == LABELS
    assert "not a diagnosis" in shipped.artifact.intended_use.lower()
    prediction = shipped.predict(radiograph(np.random.default_rng(0)))
    assert prediction.activation_map is not None
    assert prediction.activation_map.values.shape == (14, 14)


def test_command_line_web_and_dicom_give_the_same_numbers(shipped, tmp_path):
    grey = radiograph(np.random.default_rng(4), size=(400, 360))
    expected = [shipped.predict(grey).probabilities[label] for label in LABELS]
    Image.fromarray(grey).save(tmp_path / "a.png")
    eight_bit = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": grey.tobytes()}
    # a window of the full range shows 8-bit values as they are (DICOM PS3.3 C.11.2.1.2)
    (tmp_path / "b.dcm").write_bytes(dicom(grey, **eight_bit, WindowCenter=128, WindowWidth=256))
    given = [str(tmp_path / "a.png"), str(tmp_path / "b.dcm")]
    printed = json.loads(CliRunner().invoke(cli, ["predict", "--json", *given], catch_exceptions=False).stdout)
    upload = [(io.BytesIO(Path(path).read_bytes()), Path(path).name) for path in given]
    answer = create_app(shipped).test_client().post("/api/v1/predictions", data={"file": upload})
    for found in [*printed, *answer.json]:
        received = [found["probabilities"][label] for label in LABELS]
        assert np.abs(np.subtract(received, expected)).max() <= PARITY, found["path"]
    assert [set(found) for found in printed] == [set(found) for found in answer.json]


@pytest.mark.real_data
def test_a_real_image_of_each_collection_and_both_dicom_files_are_predicted(data_root):
    chosen = {name: next(iter(source.read(data_root / source.folder))).path for name, source in SOURCES.items()}
    paths = [path if path.is_file() else next(path.parent.iterdir()) for path in chosen.values()]
    paths += sorted((data_root / "dicom").iterdir())
    assert len(paths) == len(SOURCES) + 2
    result = CliRunner().invoke(cli, ["predict", "--json", *map(str, paths)], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert {item["path"] for item in found} == {str(path) for path in paths}
    assert all(sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5) for item in found)


@pytest.mark.real_data
def test_the_prediction_survives_what_a_file_conversion_does(shipped, data_root, tmp_path):
    """JPEG at quality 90 and a container change move the probabilities only a little."""
    folder = data_root / "COVID-19_Radiography_Dataset" / "COVID" / "images"
    moved = []
    for path in sorted(folder.glob("*.png"))[:10]:
        copy = tmp_path / (path.stem + ".jpg")
        Image.fromarray(read_image(path)).save(copy, quality=90)
        before, after = (shipped.predict(read_image(p)).probabilities for p in (path, copy))
        moved.append(max(abs(before[label] - after[label]) for label in LABELS))
    assert np.median(moved) < 0.1
