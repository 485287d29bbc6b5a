"""Drift against the training images: those of the shipped model without being asked, those of others by a command."""

import csv
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from batch.test_run import unwatched
from covidcxr.batch.drift import MOVED, Change
from covidcxr.batch.reference import MISSING, SHIPPED, find_reference
from covidcxr.batch.run import BatchOptions, run
from covidcxr.cli import cli
from covidcxr.data.manifest import Split, data_hash, write_manifest
from covidcxr.errors import BatchError, ManifestError
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.predictor import Predictor
from support.small_models import with_metadata
from support.small_recipes import small_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(model_file, records, tmp_path):
    """The tiny model as one that learned from the training split of ``records``; its manifest has external images."""
    known = [record for record in records if record.split is Split.TRAIN and record.label != "pneumonia"]
    model = with_metadata(model_file, tmp_path / "trained.onnx", recipe=small_recipe(), data_hash=data_hash(known))
    mixed = [*records[:50], *(replace(record, split=Split.EXTERNAL) for record in records[50:])]
    write_manifest(mixed, tmp_path / "manifest.csv")
    return model, known


def made(manifest, model):
    """Make the reference of a model with the command; return its path."""
    out = manifest.with_name("reference.json")
    arguments = ["batch", "reference", str(manifest), "--model", str(model), "--out", str(out)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def scored(out, *paths, **options):
    table = out.with_suffix(".csv")
    table.write_text("path\n" + "".join(f"{path}\n" for path in paths))
    return run(BatchOptions(sources=(str(table),), out=str(out), workers=1, **options), unwatched)


def test_the_shipped_one_is_of_the_shipped_model():
    """Fails when another model is shipped without ``make reference``."""
    shipped = Predictor.load()
    reference = find_reference(None, shipped.model)
    assert reference["data_hash"] == shipped.artifact.data_hash
    assert set(reference) == {"model", "data_hash", "sources", "images", "histograms"}
    assert set(reference["histograms"]) == {*shipped.artifact.labels, "grey_mean", "grey_spread"}
    assert {sum(histogram["counts"]) for histogram in reference["histograms"].values()} == {reference["images"]}
    assert (files("covidcxr") / "assets" / SHIPPED).stat().st_size < 10_000
    assert find_reference(None, shipped.model[:-1] + "x") is None
    assert json.loads((ROOT / "docs" / "results" / "drift.json").read_text())["model"] == shipped.model


def test_the_shipped_model_is_compared_without_being_asked(tmp_path):
    """Synthetic radiographs, all alike, are not what it learned from, and the summary says so."""
    for number in range(20):
        Image.fromarray(radiograph(np.random.default_rng(number), size=(96, 96))).save(tmp_path / f"{number}.png")
    summary = scored(tmp_path / "out", *tmp_path.glob("*.png"))
    assert summary["reference"]["sources"] == ["the training images of covidcxr-default"]
    assert summary["drift"]["grey_spread"]["change"] == Change.SHIFTED
    assert "Compared with" in (tmp_path / "out" / "summary.html").read_text()


def test_another_model_has_none_and_is_told_so(pictures, tmp_path, model_file):
    summary = scored(tmp_path / "out", pictures / "a-dark.png", model=model_file)
    assert (summary["reference"], summary["drift"]) == (None, {})
    assert MISSING in (tmp_path / "out" / "summary.html").read_text()


def test_only_training_images_enter(trained, tmp_path):
    model, known = trained
    text = made(tmp_path / "manifest.csv", model).read_text()
    reference = json.loads(text)
    assert reference["images"] == len(known) == 30
    greys = [Image.open(record.path).convert("L") for record in known]
    expected = np.histogram([np.mean(np.asarray(grey)) for grey in greys], 100, (0, 255))[0]
    assert reference["histograms"]["grey_mean"]["counts"] == expected.tolist()
    assert not any(name in text for record in known for name in (str(record.path), record.patient_id, record.id))


def test_unseen_images_of_the_same_kind_have_not_moved(trained, records, tmp_path):
    """The test split of the manifest is near its training split; the same pictures much brighter are not."""
    model, _ = trained
    given = {"model": model, "reference": str(made(tmp_path / "manifest.csv", model))}
    chosen = [record.path for record in records if record.split is Split.TEST and record.label != "pneumonia"]
    same = scored(tmp_path / "same", *chosen, **given)
    assert same["reference"]["images"] == 30
    assert {name: one["change"] for name, one in same["drift"].items()} == dict.fromkeys(same["drift"], Change.NONE)
    for number, path in enumerate(chosen):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray((155 + grey // 3).astype(np.uint8)).save(tmp_path / f"{number}.png")
    moved = scored(tmp_path / "moved", *tmp_path.glob("*.png"), **given)
    assert moved["drift"]["grey_mean"]["change"] == moved["drift"]["covid"]["change"] == Change.SHIFTED
    assert moved["drift"]["grey_mean"]["index"] > MOVED


def test_another_manifest_is_refused(trained, tmp_path):
    model, _ = trained
    with (tmp_path / "manifest.csv").open(newline="") as file:
        first, *others = list(csv.reader(file))
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([first, *others[3:]])
    with pytest.raises(ManifestError, match="Expected the manifest on which"):
        made(tmp_path / "manifest.csv", model)


def test_an_image_that_cannot_be_scored_any_more(trained, tmp_path):
    model, known = trained
    known[0].path.rename(tmp_path / "moved")
    try:
        with pytest.raises(BatchError, match=r"Expected training images that can be scored\. Received .*FILE"):
            made(tmp_path / "manifest.csv", model)
    finally:
        (tmp_path / "moved").rename(known[0].path)
