"""The summary as an HTML page: one file with SVG plots that loads nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from covidcxr import DISCLAIMER
from covidcxr.batch.reference import MISSING

WIDTH, HEIGHT = 420, 120
"""Size of a plot in pixels."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .75rem; border-bottom: 1px solid #ccc }
td:not(:first-child), th:not(:first-child) { text-align: right } th { text-align: left }
figure { display: inline-block; margin: 0 1rem 1rem 0 } figcaption { font-size: .9rem }
.batch { fill: #0072b2 } .reference { fill: none; stroke: #d55e00; stroke-width: 2 } .axis { stroke: #888 }
"""
"""Colour-blind readers can tell this blue from this orange (Okabe and Ito 2008)."""
QUANTITIES = {"grey_mean": "mean of the grey values", "grey_spread": "standard deviation of the grey values"}


def page(summary: Mapping[str, Any], reference: Mapping[str, Any] | None) -> str:
    """Return a summary as HTML, with the distributions of the reference drawn over its own."""
    run = summary["run"]
    compared = reference["histograms"] if reference else {}
    counts = (("label", "labels"), ("flag", "flags"), ("error", "errors"))
    times = [(name.removesuffix("_ms"), f"{value:.1f}") for name, value in summary["ms_per_image"].items()]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>covidcxr batch</title><style>{STYLE}</style>",
        f"<h1>{summary['images']:,} images</h1><p><strong>{escape(DISCLAIMER)}</strong></p>",
        f"<p>Model {escape(summary['model'])}. Images: {escape(' '.join(summary['sources']))}</p>",
        f"<p>The last run of the command scored {run['images']:,} images in {run['seconds']:.1f} s, "
        f"{run['images_per_s']:.1f} per second.</p>",
        *(_table((title, "images", "share"), _shares(summary[key], summary["images"])) for title, key in counts),
        _table(("core time per image", "ms"), times),
        "<h2>Distributions</h2>",
        _drift(summary) if reference else f"<p>{MISSING}</p>",
        *(_plot(name, values, compared.get(name)) for name, values in summary["histograms"].items()),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing if there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f"<table><tr>{head}</tr>{body}</table>" if body else ""


def _shares(counts: Mapping[str, int], images: int) -> list[Sequence[str]]:
    return [(name, f"{count:,}", f"{count / images:.2%}") for name, count in counts.items()]


def _drift(summary: Mapping[str, Any]) -> str:
    reference = summary["reference"]
    rows = [
        (_quantity(name), f"{one['index']:.3f}", f"{one['chance']:.3f}", one["change"])
        for name, one in summary["drift"].items()
    ]
    about = f"Compared with {reference['images']:,} images: {escape(' '.join(reference['sources']))}."
    header = ("quantity", "population stability index", "95 % limit of chance", "change")
    legend = "Where a quantity has shifted, these images differ from the reference. Orange: reference; blue: batch."
    return f"<p>{about} {legend}</p>" + _table(header, rows)


def _plot(name: str, own: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    """Draw a histogram and the outline of its reference, both as shares, scaled so that the highest fills the plot."""
    bars = _bin_shares(own)
    line = _bin_shares(other) if other else []
    top = max([*bars, *line, 1e-9])
    step = WIDTH / len(bars)
    rects = "".join(
        f"<rect x='{step * x:.1f}' y='{HEIGHT * (1 - y / top):.1f}' width='{step:.1f}'"
        f" height='{HEIGHT * y / top:.1f}'/>"
        for x, y in enumerate(bars)
        if y
    )
    points = " ".join(f"{step * (x + 0.5):.1f},{HEIGHT * (1 - y / top):.1f}" for x, y in enumerate(line))
    caption = f"{_quantity(name)}, {own['low']:g} to {own['high']:g}"
    return (
        f"<figure><svg width={WIDTH} height={HEIGHT} role=img aria-label='{escape(caption)}'><g class=batch>{rects}</g>"
        f"<polyline class=reference points='{points}'/><path class=axis d='M0 {HEIGHT}H{WIDTH}'/></svg>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _bin_shares(histogram: Mapping[str, Any]) -> list[float]:
    images = max(sum(histogram["counts"]), 1)
    return [count / images for count in histogram["counts"]]


def _quantity(name: str) -> str:
    return QUANTITIES.get(name, f"probability of {name}")
