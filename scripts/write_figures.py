"""Render the templates in docs/figures into README.md and docs: ``make docs``.

The numbers come from the reports in src/covidcxr/assets/results, docs/results and benchmarks. Whatever is between
``<!-- figures: NAME -->`` and ``<!-- end -->`` in a page is replaced by the output of docs/figures/NAME.md.jinja; a
second word in the marker reaches the template as ``part``.
"""

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^(<!-- figures: (?P<name>[\w-]+)(?: (?P<part>[\w-]+))? -->\n).*?^(<!-- end -->)$", re.DOTALL | re.MULTILINE
)
PAGES = [
    page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if BLOCK.search(page.read_text("utf-8"))
]

Estimate = dict[str, float]
"""A value with ``low`` and ``high``, the ends of its interval; or a median with ``min`` and ``max``."""


def load(name: str) -> Any:  # noqa: ANN401 - any JSON
    """Read a JSON file by its path from the root of the repository."""
    return json.loads((ROOT / name).read_text("utf-8"))


def report(protocol: str) -> Any:  # noqa: ANN401 - any JSON
    """Read the shipped report of a protocol."""
    return load(f"src/covidcxr/assets/results/{protocol}.json")


def percent(e: Estimate) -> str:
    """Format a share and its interval in percent."""
    return f"{100 * e['value']:.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})"


def share(e: Estimate) -> str:
    """Format a value between 0 and 1 and its interval."""
    return f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"


def spread(e: Estimate, unit: str = "") -> str:
    """Format a median with the smallest and largest value."""
    digits = 2 if e["median"] < 10 else 0
    return f"{e['median']:.{digits}f} {unit}".rstrip() + f" ({e['min']:.{digits}f} to {e['max']:.{digits}f})"


def ratio(a: float, b: float) -> str:
    """Format a divided by b."""
    return f"{a / b:.1f}x"


def duration(seconds: float) -> str:
    """Format a time in seconds, minutes or hours."""
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def conditions(found: dict[str, Any]) -> str:
    """Name the machine and the versions that gave a result."""
    return f"{found['machine']}; {', '.join(f'{name} {version}' for name, version in found['versions'].items())}"


def total(parts: dict[str, dict[str, int]]) -> int:
    """Add up the images of the parts of a test set."""
    return sum(part["n"] for part in parts.values())


FIGURES = Environment(
    loader=FileSystemLoader(ROOT / "docs" / "figures"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)
FIGURES.globals |= {"load": load, "report": report}
FIGURES.filters |= {f.__name__: f for f in (percent, share, spread, ratio, duration, conditions, total)}


def rendered(text: str) -> str:
    """Return a page with every block of figures rendered."""

    def block(found: re.Match[str]) -> str:
        template = FIGURES.get_template(f"{found['name']}.md.jinja")
        return found[1] + template.render(part=found["part"]) + found[4]

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text("utf-8")), "utf-8")
