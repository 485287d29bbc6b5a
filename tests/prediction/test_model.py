"""The public face: one model object, images in any form."""

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import covidcxr
from covidcxr import DISCLAIMER
from covidcxr.errors import ArtifactError, ImageError
from covidcxr.images.decode import read_image
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.artifact import EMBEDDING
from covidcxr.prediction.fields import columns
from support.dicom_objects import dicom, write

GREY = radiograph(np.random.default_rng(0), size=(240, 200))


@pytest.fixture(scope="module")
def model(model_file):
    return covidcxr.load_model(model_file)


@pytest.fixture(scope="module")
def shipped():
    return covidcxr.load_model()


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"broken")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.dcm").write_bytes(write(dicom(GREY)))
    return tmp_path


def test_any_form_of_an_image_gives_the_same_answer(model, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    expected = model.predictor.predict(GREY).to_dict("")
    for form in (path, str(path), path.read_bytes(), GREY, Image.open(path)):
        assert model.predict(form).to_dict("") == expected
    with pytest.raises(ImageError, match=r"absent\.png"):
        model.predict("absent.png")


def test_a_prediction_has_three_lines(shipped):
    lines = repr(shipped.predict(radiograph(np.random.default_rng(0), size=(1024, 896)))).splitlines()
    assert lines[0].startswith("normal (normal 97.")
    assert lines[1] == "COVID-19 0.0 to 6.6 %. Below screening. Below balanced."
    assert lines[2] == f"{shipped.predictor.model}, audit: fail. {DISCLAIMER}"
    declined = repr(shipped.predict(np.zeros((200, 200), np.uint8))).splitlines()
    assert declined[:2] == ["no answer", "The image is uniform; it shows nothing."]
    assert len(lines) == len(declined) == 3
    assert shipped.predictor.model in repr(shipped)


def test_a_folder_is_a_table(model, folder):
    table = model.predict_folder(folder)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == [column.name for column in columns(model.predictor.artifact)]
    assert list(table["path"]) == [str(folder / name) for name in ("a.png", "b.png", "deep/c.dcm")]
    assert list(table["error"].isna()) == [False, True, True]
    assert table["covid"][1] == pytest.approx(model.predict(folder / "b.png").probabilities["covid"], abs=1e-6)


def test_without_pandas_a_folder_is_a_list(model, folder, monkeypatch):
    table = model.predict_folder(folder)
    real = builtins.__import__

    def without(name, *more):
        if name == "pandas":
            raise ImportError
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    rows = model.predict_folder(str(folder))
    assert [row["path"] for row in rows] == list(table["path"])
    assert list(rows[0]) == list(table.columns)


def test_features_are_rows_of_the_same_order(shipped, folder):
    features = shipped.features(folder)
    assert features.dtype == np.float32
    assert features.shape[0] == 3
    assert np.isnan(features[0]).all()
    greys = [read_image(folder / name) for name in ("b.png", "deep/c.dcm")]
    expected = shipped.predictor.run(greys, [EMBEDDING])[EMBEDDING]
    assert features[1:] == pytest.approx(expected, abs=1e-5)


def test_impossible_folders_are_errors(model, shipped, tmp_path):
    for ask in (model.predict_folder, shipped.features):
        with pytest.raises(ImageError, match=r"Expected a folder\. Received .*absent"):
            ask(tmp_path / "absent")
        with pytest.raises(ImageError, match="without any"):
            ask(tmp_path)
    with pytest.raises(ArtifactError, match="embedding"):
        model.features(tmp_path)


def test_importing_the_package_loads_nothing_else():
    ask = "import sys; import covidcxr; print(sorted(sys.modules)); covidcxr.load_model; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert not any(name in before for name in ("numpy", "onnxruntime", "PIL", "covidcxr.prediction"))
    assert "covidcxr.prediction.model" in after


def test_the_public_names_are_there_and_others_are_not():
    assert set(covidcxr.__all__) <= set(dir(covidcxr))
    assert all(hasattr(covidcxr, name) for name in covidcxr.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = covidcxr.nonsense
    assert (Path(covidcxr.__file__).parent / "py.typed").exists()
