import pytest

from conftest import small_recipe
from covidcxr.errors import RecipeError
from covidcxr.labels import LABELS, Label
from covidcxr.recipe import parse_recipe, recipe_text


@pytest.mark.parametrize(("name", "labels"), [("classic", (Label.NORMAL, Label.COVID)), ("default", LABELS)])
def test_packaged_recipes_are_valid(name, labels):
    recipe = parse_recipe(recipe_text(name), name)
    assert recipe.name == name
    assert recipe.labels == labels


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", "batchsize"),
        ("crop = 0.9", "crop = 1.5", "crop"),
        ("crop = 0.9", "crops = 0.9", "crops"),
        ('"normal"', '"healthy"', "healthy"),
        ("rotation = 5", "rotation = 500", "rotation"),
        ("[data]", "[data", "small"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(old, new, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(small_recipe().replace(old, new), "small")


def test_a_recipe_from_a_file_and_an_unknown_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(small_recipe())
    assert parse_recipe(recipe_text(str(path)), "mine").name == "small"
    with pytest.raises(RecipeError, match=r"classic, default.*nothing"):
        recipe_text("nothing")
