"""Figures as text, for the tables that write_figures.py puts into README and docs."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def load(name: str) -> dict[str, Any]:
    """Read a result file below the project's folder."""
    content: dict[str, Any] = json.loads((ROOT / name).read_text("utf-8"))
    return content


def percent(e: dict[str, float]) -> str:
    """Format an estimate with its interval."""
    return f"{100 * e['value']:.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})"


def share(e: dict[str, float]) -> str:
    """Format an estimate between 0 and 1 with its interval."""
    return f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def spread(e: dict[str, float], unit: str) -> str:
    """Format a median with its smallest and largest value."""
    digits = 2 if e["median"] < 10 else 0
    return f"{e['median']:.{digits}f} {unit}".rstrip() + f" ({e['min']:.{digits}f} to {e['max']:.{digits}f})"


def ratio(theirs: float, ours: float) -> str:
    """Format how many times one is of the other."""
    return f"{theirs / ours:.1f}x"
