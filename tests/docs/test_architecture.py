import ast
import re
from pathlib import Path

import grimp
import pytest

import covidcxr

PACKAGE = Path(covidcxr.__file__).parent
PAGE = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text("utf-8")
TREE = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
ARROWS = set(re.findall(r"^ +(\w+)(?:\[.*?\])? --> (\w+)", PAGE, re.MULTILINE))
FEATURES = re.findall(r"^\| .+ \| `([\w/]+\.py)`.* \| `(\w+)` \|$", PAGE, re.MULTILINE)


def rooms():
    """Return the folders of the tree by their path."""
    found, path = set(), []
    for line in TREE:
        if match := re.match(r"( *)(\w+)/ ", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            found.add("/".join(path))
    return found


def below(room):
    """Return the rooms that arrows lead to."""
    direct = {end for start, end in ARROWS if start == room}
    return direct.union(*(below(end) for end in direct))


def test_the_tree_has_every_room_and_no_other():
    there = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*/__init__.py")}
    assert rooms() == there - {"."}


def test_modules_beside_the_rooms_exist():
    modules = [line.split()[0] for line in TREE if re.match(r"\w+ ", line)]
    assert modules
    assert all((PACKAGE / f"{name}.py").is_file() for name in modules)


def test_every_import_between_rooms_follows_the_arrows():
    graph = grimp.build_graph("covidcxr")
    drawn = {room for arrow in ARROWS for room in arrow}
    assert drawn == {room for room in rooms() if "/" not in room}
    against = {
        (module, imported)
        for room in drawn
        for module in {f"covidcxr.{room}"} | graph.find_descendants(f"covidcxr.{room}")
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.split(".")[:2][-1] in drawn - below(room) - {room}
    }
    assert not against


@pytest.mark.parametrize(("path", "name"), FEATURES)
def test_a_feature_is_where_the_page_says(path, name):
    tree = ast.parse((PACKAGE / path).read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert name in defined


def test_there_are_ten_features():
    assert len(FEATURES) == 10
