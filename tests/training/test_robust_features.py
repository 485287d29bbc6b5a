import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr.errors import RecipeError
from covidcxr.labels import LABELS
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts
from covidcxr.training.batches import load_images
from covidcxr.training.fit import MODEL, VALIDATION, load_run, make_network, train
from covidcxr.training.networks import build
from covidcxr.training.robust_features import opaque_images, set_robust_head
from support.small_recipes import robust_recipe

RECIPE = robust_recipe(folds=4)


@pytest.fixture(scope="module")
def parsed():
    return parse_recipe(RECIPE, "robust")


@pytest.fixture(scope="module")
def runs(records, tmp_path_factory):
    """Two runs of the same recipe, for which the few images of the small data set are enough."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("covidcxr.training.robust_head.LEAST", 3)
        for name in ("one", "other"):
            train(records, RECIPE, folder / name)
    return folder / "one", folder / "other"


@pytest.fixture(scope="module")
def loaded(runs):
    """Network and recipe of each run."""
    return [load_run(run) for run in runs]


def test_a_run_leaves_the_network_and_what_it_says_of_the_validation_groups(records, parsed, runs, loaded):
    names = {path.name for path in runs[0].iterdir()}
    assert names == {MODEL, VALIDATION, "recipe.toml", "run.json", "parts.csv"}, "and no history: nothing was trained"
    model, recipe = loaded[0]
    assert recipe == parsed
    validation = split_parts(records, recipe).validation
    table = pd.read_csv(runs[0] / VALIDATION)
    images = load_images(validation, recipe.preprocessing)
    expected = model.predict(images, batch_size=recipe.training.batch_size, verbose=0)  # others round otherwise
    assert list(table["id"]) == [record.id for record in validation]
    assert table[list(LABELS)].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_the_head_is_computed_and_nothing_else_changes(parsed, loaded):
    keras.utils.set_random_seed(parsed.training.seed)
    before = make_network(parsed, None)
    for layer, untouched in zip(loaded[0][0].layers, before.layers, strict=True):
        same = all((a == b).all() for a, b in zip(layer.get_weights(), untouched.get_weights(), strict=True))
        assert same == (layer.name != "head"), layer.name


def test_the_same_seed_gives_the_same_weights(loaded):
    one, other = (model.get_weights() for model, _ in loaded)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_opacities_are_drawn_by_seed_and_image(records, parsed):
    """Not by the order or the number of the others, so that a fold draws what the whole draws."""
    images = opaque_images(records[:4], parsed.preprocessing, seed=0)
    assert (images.shape, images.dtype) == ((4, 64, 64, 1), np.uint8)
    assert (opaque_images(records[3:1:-1], parsed.preprocessing, seed=0) == images[3:1:-1]).all()
    plain = load_images(records[:4], parsed.preprocessing)
    again = opaque_images(records[:4], parsed.preprocessing, seed=1)
    for index in range(4):
        assert (images[index] != plain[index]).any()
        assert (images[index] != again[index]).any()
    twice = opaque_images([records[0], records[0]], parsed.preprocessing, seed=0)
    assert (twice[0] == twice[1]).all()


def test_a_network_without_pooling_is_an_error(records, parsed):
    classic = build("seed_cnn", size=64, classes=2, weights=None, dropout=0)
    with pytest.raises(RecipeError, match="Expected a network with the layers pool and head"):
        set_robust_head(classic, parsed.training.robust_head, records, parsed, None)
