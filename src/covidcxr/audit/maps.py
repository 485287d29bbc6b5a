"""Tests of the map itself: whether it marks what the answer depends on, and whether it depends on the weights."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from covidcxr.audit.context import NO_MAP, AuditLimits, AuditResult, AuditTest, Context, mean_of
from covidcxr.audit.pictures import bars, curves
from covidcxr.images.grey import Grey
from covidcxr.prediction.lungs import Box

FAITHFUL = AuditTest(
    "deletion_insertion",
    "Deletion and insertion",
    "insertion minus deletion score of the map, above that of random maps",
    AuditLimits(passes=0.02, fails=0.0),
)
SANE = AuditTest(
    "map_sanity",
    "Map of shuffled weights",
    "rank correlation of the maps before and after all weights are shuffled",
    AuditLimits(passes=0.5, fails=0.8),
)
STEPS = np.linspace(0, 1, 9)
SHARES = (0.1, 0.5, 1.0)
"""Shares of the weight arrays that are shuffled, from the output down."""


def deletion_insertion(context: Context) -> AuditResult:
    """Compare hiding, or keeping, what the map marks with hiding random places (Petsiuk et al. 2018).

    The scores are areas under the probability of the predicted class while the cells of the map are hidden, or kept, in
    the order of their evidence. Hidden cells get the mean grey of the image.
    """
    if context.outputs.maps is None:
        return FAITHFUL.skipped(NO_MAP)
    rng = np.random.default_rng(0)
    rows = [_scores_of(context, place, rng) for place in context.few]
    table = np.array(rows)  # images, (map, random), (deletion, insertion), steps
    areas = np.trapezoid(table, STEPS, axis=3)
    gain = areas[..., 1] - areas[..., 0]
    found = mean_of(gain[:, 0] - gain[:, 1], context.sample.groups[context.few])
    says = f"Hiding or keeping what the map marks changes the answer by {found.value:+.2f} more than random places do."
    mean = table.mean(axis=0)
    names = ("map", "random")
    lines = {f"{what}, {name}": mean[i, j] for i, name in enumerate(names) for j, what in enumerate(("hidden", "kept"))}
    return FAITHFUL.judged(
        found,
        says,
        n=len(table),
        picture=curves(STEPS.tolist(), lines, "share of the map, strongest first", "probability of the first answer"),
        details={
            name: dict(zip(("deletion", "insertion"), areas[:, i].mean(axis=0).tolist(), strict=True))
            for i, name in enumerate(names)
        },
    )


def map_sanity(context: Context) -> AuditResult:
    """Measure how much of the map remains when the weights are shuffled from the output down (Adebayo et al. 2018)."""
    if context.outputs.maps is None:
        return SANE.skipped(NO_MAP)
    if context.subject.randomise is None:
        return SANE.skipped("the weights are not accessible")
    greys, groups = [context.sample.greys[place] for place in context.few], context.sample.groups[context.few]
    called = context.outputs.scores[context.few].argmax(axis=1)
    before = _of_class(context.outputs.maps[context.few], called)
    found = {}
    for share in SHARES:
        after = context.subject.randomise(share).outputs(greys).maps
        assert after is not None
        alike = [abs(_rank_correlation(*pair)) for pair in zip(before, _of_class(after, called), strict=True)]
        found[f"{share:.0%} of the weights"] = mean_of(np.array(alike), groups)
    last = list(found.values())[-1]
    says = (
        f"With all weights of the network shuffled, the map keeps a rank correlation of {last.value:.2f} with the real "
        f"one."
    )
    return SANE.judged(
        last,
        says,
        n=len(greys),
        picture=bars(found, SANE.limits),
        details={name: value.to_dict() for name, value in found.items()},
    )


def _scores_of(context: Context, place: int, rng: np.random.Generator) -> list[list[NDArray[np.float64]]]:
    """Return one image's probability of the predicted class for (map, random), (deletion, insertion) and every step."""
    assert context.outputs.maps is not None
    grey, subject = context.sample.greys[place], context.subject
    called = int(context.outputs.scores[place].argmax())
    evidence = context.outputs.maps[place][..., called]
    orders = (evidence, rng.random(evidence.shape))
    pictures = [
        _hidden(grey, order, share, subject.box, shown)
        for order in orders
        for shown in (False, True)
        for share in STEPS
    ]
    values = subject.scores(pictures)[:, called].reshape(len(orders), 2, len(STEPS))
    return [list(row) for row in values]


def _hidden(grey: Grey, order: NDArray[np.float64], share: float, box: Box, shown: bool) -> Grey:
    """Hide this share of the cells, largest ``order`` first; with ``shown``, hide everything else instead."""
    ranks = rankdata(-order, method="ordinal").reshape(order.shape)
    cells = Image.fromarray((ranks <= share * order.size).astype(np.uint8))
    height, width = grey.shape
    left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True))
    chosen = np.zeros(grey.shape, bool)
    chosen[top:bottom, left:right] = np.asarray(cells.resize((right - left, bottom - top), Image.Resampling.NEAREST))
    return np.where(chosen == shown, grey, np.uint8(grey.mean()))


def _of_class(maps: NDArray[np.float64], called: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each image's flattened map of one class: float64, shape (n, cells)."""
    return np.array([values[..., index].ravel() for values, index in zip(maps, called, strict=True)])


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation, 0 if a map is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
