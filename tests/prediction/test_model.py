"""The public face: one model object, images in any form."""

import builtins
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

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


def test_every_form_of_an_image_gives_the_same_answer(model, tmp_path):
    expected = repr(model.predictor.predict(GREY))
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    rgb = np.repeat(GREY[..., np.newaxis], 3, axis=2)
    ds = dcmread(io.BytesIO(write(dicom(GREY))))
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())]
    forms += [GREY, GREY[..., np.newaxis], rgb, Image.open(path), Image.fromarray(rgb)]
    for form in forms:
        assert repr(model.predict(form)) == expected, type(form)
    assert repr(model.predict(ds)) == repr(model.predict(write(dicom(GREY))))
    with path.open("rb") as file:
        assert repr(model.predict(file)) == expected


def test_a_path_a_file_and_an_array_of_sixteen_bits_are_the_same(model, tmp_path):
    deep = (GREY.astype(np.uint16) * 200 + 300).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = model.predict(tmp_path / "deep.png").probabilities
    for form in (deep, deep.astype(">u2"), Image.open(tmp_path / "deep.png")):
        assert model.predict(form).probabilities == expected
    for form in (deep.astype(np.float64) / 1000 - 7, deep.astype(np.int32), deep.astype(np.int64)):
        assert model.predict(form).probabilities == pytest.approx(expected, abs=0.01)


def test_a_data_set_is_left_as_it_was(model):
    ds = dcmread(io.BytesIO(write(dicom(GREY))))
    before = ds.to_json()
    model.predict(ds)
    assert ds.to_json() == before


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "Received bytes: the content is none of these"),
        (io.StringIO("text"), "Received a file"),
        (np.zeros((200, 200, 2), np.uint8), r"Received ndarray: shape \(200, 200, 2\)"),
        (np.zeros(200, np.uint8), "shape"),
        (np.zeros((10, 200), np.uint8), "200 x 10 pixels"),
        (np.full((200, 200), "a"), "values of type"),
        (np.full((200, 200), np.nan), "not finite"),
        (Image.new("L", (10, 10)), "10 x 10 pixels"),
        (Dataset(), "Received Dataset: a DICOM object without PixelData"),
        ("absent.png", "absent.png"),
    ],
)
def test_an_impossible_image_is_an_error_that_says_why(model, image, message):
    with pytest.raises(ImageError, match=message):
        model.predict(image)


def test_what_is_no_image_at_all_is_a_type_error(model):
    with pytest.raises(TypeError, match="Received int"):
        model.predict(3)


def test_a_prediction_has_three_lines(shipped):
    lines = repr(shipped.predict(radiograph(np.random.default_rng(0), size=(1024, 896)))).splitlines()
    assert lines[0].startswith("normal (normal 97.")
    assert lines[1].startswith("COVID-19 ")
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
