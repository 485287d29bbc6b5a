from pathlib import Path

import pytest

from covidcxr.errors import RecipeError
from covidcxr.recipes.run_folder import RECIPE, RUN, holds_run, read_run, write_run
from covidcxr.training.fit import MODEL, load_run
from support.small_recipes import small_recipe

DEPENDS = {"recipe": "small", "data_hash": "0" * 64}
TEXT = 'name = "small"\n'
FILES = {RECIPE: TEXT, "parts.csv": "id,part\n"}


def test_what_is_written_is_found(tmp_path):
    assert not holds_run(tmp_path / "run", DEPENDS, recipe=TEXT)
    write_run(tmp_path / "run", DEPENDS | {"python": "3"}, FILES)
    assert holds_run(tmp_path / "run", DEPENDS, recipe=TEXT)
    assert read_run(tmp_path / "run") == DEPENDS | {"python": "3"}


@pytest.mark.parametrize("place", ["write_text", "replace"])
@pytest.mark.parametrize("name", [*FILES, RUN])
def test_a_stop_while_the_folder_is_made_leaves_one_to_go_on_with(tmp_path, monkeypatch, place, name):
    plain = getattr(Path, place)

    def stopped(path, *given):
        if path.name.startswith(f".{Path(name).stem}."):  # the partial file
            if place == "write_text":
                plain(path, given[0][:3], *given[1:])
            raise KeyboardInterrupt
        return plain(path, *given)

    monkeypatch.setattr(Path, place, stopped)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path, DEPENDS, FILES)
    monkeypatch.undo()
    assert not holds_run(tmp_path, DEPENDS, recipe=TEXT)
    write_run(tmp_path, DEPENDS, FILES)
    assert holds_run(tmp_path, DEPENDS, recipe=TEXT)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, RUN}


def test_files_of_somebody_else_stay_as_they_are(tmp_path):
    (tmp_path / RECIPE).write_text("mine")
    with pytest.raises(RecipeError, match="other files"):
        write_run(tmp_path, DEPENDS, FILES)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(RECIPE, "mine")]
    with pytest.raises(RecipeError, match=f"folder that can be written. Received .*{RECIPE}"):
        write_run(tmp_path / RECIPE / "run", DEPENDS, FILES)


def test_a_run_of_another_kind_is_refused(tmp_path):
    """That of the lung networks has no recipe."""
    write_run(tmp_path, {"settings": {"epochs": 2}, "data_hash": "0" * 64}, {})
    with pytest.raises(RecipeError, match="Expected a new folder"):
        holds_run(tmp_path, DEPENDS, recipe=TEXT)


@pytest.mark.parametrize("content", [b'{"recipe": "sm', b"[]", b"5", b"{}", b"\xff"])
def test_what_is_no_run_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / RUN).write_bytes(content)
    for read in (read_run, lambda run: holds_run(run, DEPENDS)):
        with pytest.raises(RecipeError, match=r"Received .*run\.json"):
            read(tmp_path)


@pytest.mark.parametrize("broken", [RECIPE, MODEL])
def test_a_run_that_cannot_be_read_is_an_error_that_names_it(tmp_path, broken):
    write_run(tmp_path, DEPENDS, {RECIPE: small_recipe()})
    (tmp_path / MODEL).write_bytes(b"PK")
    (tmp_path / broken).write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="Expected a readable") as error:
        load_run(tmp_path)
    assert str(tmp_path) in str(error.value)
