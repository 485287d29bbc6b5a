import importlib.util
import pkgutil
import re
from pathlib import Path

import grimp
import pytest

import covidcxr

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "scripts" / "draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn():
    return re.findall(r'<text class="module"[^>]*>([^<]+)</text>', PICTURE.read_text("utf-8"))


def test_every_module_of_the_package_stands_in_the_picture_once_and_no_other():
    there = {module.name for module in pkgutil.iter_modules(covidcxr.__path__)}
    assert sorted(drawn()) == sorted(there), "change scripts/draw_architecture.py and run it"


def test_the_picture_is_what_the_script_draws(script):
    assert PICTURE.read_text("utf-8") == script.draw(), "run scripts/draw_architecture.py"


def test_right_of_the_model_file_nothing_imports_training_as_drawn(script):
    """Only the command line does, when a command asks for it."""
    graph = grimp.build_graph("covidcxr")
    left = {f"covidcxr.{name}" for box in ("training", "export", "judging") for name in script.BOXES[box].modules}
    right = [name for box in ("file", "prediction", "serving") for name in script.BOXES[box].modules]
    found = {
        (module, imported)
        for name in right
        if name not in ("cli", "__main__")
        for module in {f"covidcxr.{name}"} | graph.find_descendants(f"covidcxr.{name}")
        for imported in graph.find_modules_directly_imported_by(module)
        if ".".join(imported.split(".")[:2]) in left
    }
    assert not found


def test_nothing_is_written_outside_its_box(script):
    for box in script.BOXES.values():
        assert box.x + box.width <= script.WIDTH
        assert box.y + box.height <= script.HEIGHT
        widest = (box.width - 20) // box.columns
        assert all(7 * len(name) <= widest + 2 for name in box.modules), box.title
