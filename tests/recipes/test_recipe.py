import pytest

from covidcxr.errors import RecipeError
from covidcxr.labels import LABELS, Label
from covidcxr.recipes.recipe import parse_recipe, recipe_text
from support.small_recipes import robust_recipe, small_recipe


@pytest.mark.parametrize(
    ("name", "labels"), [("classic", (Label.NORMAL, Label.COVID)), ("default", LABELS), ("finetuned", LABELS)]
)
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
        ("crop = 0.9", "crops = 0.9", "size, crop, equalize, blur"),
        ("[data]", "[data", "line"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(old, new, message):
    with pytest.raises(
        RecipeError, match=rf"^Expected a (valid recipe|recipe in TOML)\. Received small: .*{message}"
    ) as raised:
        parse_recipe(small_recipe().replace(old, new), "small")
    assert "pydantic" not in str(raised.value)


def test_a_recipe_from_a_file_and_an_unknown_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(small_recipe())
    assert parse_recipe(recipe_text(str(path)), "mine").name == "small"
    with pytest.raises(RecipeError, match=r"classic, default, finetuned.*nothing"):
        recipe_text("nothing")


def test_a_head_is_trained_or_computed():
    trained, computed = small_recipe(), robust_recipe()
    assert parse_recipe(trained, "trained").training.robust_head is None
    assert parse_recipe(computed, "computed").training.phases == ()
    phases = next(line for line in trained.splitlines() if line.startswith("phases"))
    for text in (computed + phases, trained.replace(phases, ""), trained.replace(phases, "phases = []")):
        with pytest.raises(RecipeError, match="Expected either phases or robust_head"):
            parse_recipe(text, "neither or both")


def test_a_computed_head_tells_all_classes():
    with pytest.raises(RecipeError, match="Expected the classes normal, pneumonia, covid for robust_head"):
        parse_recipe(robust_recipe(labels=["normal", "covid"]), "two")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("contrast = 0.5", "contrast = -0.5", "contrast"),
        ("inverse_regularisation = 0.01", "inverse_regularisation = 0", "inverse_regularisation"),
        ("within = 1.0", "without = 1.0", "without"),
    ],
)
def test_a_mistake_in_a_computed_head_is_named(old, new, message):
    text = robust_recipe()
    assert old in text
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text.replace(old, new), "computed")
