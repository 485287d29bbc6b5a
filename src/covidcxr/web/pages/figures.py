"""The reports of the protocols, as they come with the package."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from covidcxr.labels import Protocol


@cache
def reports() -> dict[Protocol, dict[str, Any]]:
    """Return the shipped report of every protocol that has one; see docs/evaluation.md."""
    folder = files("covidcxr") / "assets" / "results"
    paths = {protocol: folder / f"{protocol}.json" for protocol in Protocol}
    return {protocol: json.loads(path.read_text("utf-8")) for protocol, path in paths.items() if path.is_file()}
