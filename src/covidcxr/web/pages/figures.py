"""The reports of the protocols, as they come with the package."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

PROTOCOLS = ("P1", "P2", "P3", "P4", "P5")


@cache
def reports() -> dict[str, dict[str, Any]]:
    """Return the report of every protocol that is there, by its name; see docs/evaluation.md."""
    folder = files("covidcxr") / "assets" / "results"
    paths = {name: folder / f"{name}.json" for name in PROTOCOLS}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()}
