"""Pictures for the report: bars with intervals and limits, radiographs before and after, curves."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from covidcxr.audit.context import AuditLimits
from covidcxr.evaluation.metrics import Estimate
from covidcxr.images.grey import Grey

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008)."""


def bars(
    figures: Mapping[str, Estimate | float],
    limits: AuditLimits | None = None,
    *,
    chance: float | None = None,
    examples: Mapping[str, Grey] | None = None,
) -> bytes:
    """Draw figures as horizontal bars with their intervals, and lines at the limits of the rule.

    Args:
        figures: Figures by name.
        limits: Limits of the rule.
        chance: Figure of guessing.
        examples: Radiographs by name, shown above the bars.

    Returns:
        PNG file.
    """
    height = 1.0 + 0.36 * len(figures)
    above, size = (2.6, 10) if len(examples or ()) <= 2 else (1.3, 7)
    figure = Figure(figsize=(6.2, height + (above if examples else 0)), layout="constrained")
    if examples:
        grid = figure.add_gridspec(2, 1, height_ratios=(above, height))
        upper, lower = (figure.add_subfigure(grid[row]) for row in range(2))
        for axes, (name, grey) in zip(
            upper.subplots(1, len(examples), squeeze=False)[0], examples.items(), strict=True
        ):
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
            axes.set_title(name, fontsize=size)
            axes.axis("off")
        _bars(lower.subplots(), figures, limits, chance)
    else:
        _bars(figure.subplots(), figures, limits, chance)
    return png(figure)


def _bars(
    axes: Axes, figures: Mapping[str, Estimate | float], limits: AuditLimits | None, chance: float | None
) -> None:
    for place, found in enumerate(figures.values()):
        if isinstance(found, Estimate):
            ends = [[max(0, found.value - found.low)], [max(0, found.high - found.value)]]
            axes.barh(place, found.value, color=BLUE, height=0.6, xerr=ends, ecolor="black", capsize=3)
        else:
            axes.barh(place, found, color=BLUE, height=0.6)
    axes.set_yticks(range(len(figures)), list(figures))
    axes.invert_yaxis()
    if not any(found.value if isinstance(found, Estimate) else found for found in figures.values()):
        axes.set_xlim(left=0)  # otherwise 0 would be in the middle
    if limits:
        axes.axvline(limits.passes, color=GREEN, linestyle="--", label="passes")
        axes.axvline(limits.fails, color=RED, linestyle="--", label="fails")
    if chance is not None:
        axes.axvline(chance, color="grey", linestyle=":", label="chance")
    if limits or chance is not None:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def curves(x: Sequence[float], lines: Mapping[str, NDArray[np.float64]], xlabel: str, ylabel: str) -> bytes:
    """Draw curves as a PNG file."""
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(lines.items(), (BLUE, "#56b4e9", RED, ORANGE), strict=False):
        axes.plot(x, values, label=name, color=colour, marker=".")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return png(figure)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
