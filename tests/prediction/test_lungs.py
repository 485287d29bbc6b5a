"""The lung network that comes with the package, and what is made of its answers."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from covidcxr.errors import ArtifactError
from covidcxr.images.decode import read_image
from covidcxr.images.phantom import LEFT_LUNG, LIVER, RIGHT_LUNG, SPINE, radiograph
from covidcxr.prediction.lungs import WHOLE, LungSegmenter, box
from covidcxr.training.lungs.data import find_pairs, split_by_hospital
from covidcxr.training.lungs.report import dice

MAX_BYTES = 2_000_000
REPORT = json.loads((Path(__file__).parents[2] / "docs" / "results" / "lungs.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def segmenter():
    return LungSegmenter.load()


def share(mask, place):
    height, width = mask.shape
    left, top, right, bottom = place
    return mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)].mean()


def test_the_recorded_figures_are_those_of_the_shipped_network():
    content = (files("covidcxr") / "assets" / "lungs.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == REPORT["sha256"]
    assert len(content) < MAX_BYTES


@pytest.mark.parametrize("size", [(480, 400), (300, 300), (400, 560)])
def test_lungs_of_a_drawing_are_found_where_they_are(segmenter, size):
    greys = [radiograph(np.random.default_rng(seed), size=size) for seed in range(3)]
    for mask in segmenter.masks(greys):
        assert mask.shape == size
        assert mask.dtype == bool
        assert share(mask, RIGHT_LUNG) > 0.9
        assert share(mask, LEFT_LUNG) > 0.9
        assert max(share(mask, place) for place in (SPINE, LIVER)) < 0.1


def test_every_image_gets_its_own_mask_of_its_size(segmenter):
    grey = radiograph(np.random.default_rng(0))
    wide = np.pad(grey, ((0, 0), (200, 0)))
    upright, shifted, turned = segmenter.masks([grey, wide, grey[::-1]])
    assert shifted.shape == wide.shape
    assert dice(np.pad(upright, ((0, 0), (200, 0))), shifted) > 0.85
    assert turned.shape == grey.shape
    assert segmenter.masks([]) == []


def test_window_and_gamma_hardly_matter(segmenter):
    grey = radiograph(np.random.default_rng(0))
    dark = np.rint(255 * (grey / 255) ** 2).astype(np.uint8)
    plain, darker = segmenter.masks([grey, dark])
    assert dice(plain, darker) > 0.97


def test_a_box_spans_the_lungs_and_its_margin_and_stays_inside():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 40:140] = True
    assert box(mask, 0) == pytest.approx((0.2, 0.2, 0.7, 0.6))
    assert box(mask, 0.1) == pytest.approx((0.15, 0.16, 0.75, 0.64))
    assert box(mask, 5) == WHOLE
    assert box(np.zeros((10, 10), bool), 0.1) == WHOLE
    mask[90, 190] = True
    assert box(mask, 0) == pytest.approx((0.2, 0.2, 0.7, 0.6)), "a stray speck"


def test_what_is_no_lung_network_is_refused(model_file, tmp_path):
    for path, expected in ((model_file, "lung network"), (tmp_path / "none.onnx", "model file in ONNX format")):
        with pytest.raises(ArtifactError, match=f"{expected}.*{path.name}"):
            LungSegmenter.load(path)


@pytest.mark.real_data
def test_masks_agree_with_those_that_people_drew(segmenter, data_root):
    _, unseen = split_by_hospital(find_pairs(data_root), seed=REPORT["settings"]["seed"])
    found = segmenter.masks([read_image(pair.image) for pair in unseen])
    scores = [dice(read_image(pair.mask) >= 128, mask) for pair, mask in zip(unseen, found, strict=True)]
    assert len(scores) == REPORT["test"]["n"]
    assert np.mean(scores) == pytest.approx(REPORT["dice"]["value"], abs=1e-3)
    assert np.mean(scores) > 0.9
