"""Tests of the regions that a model uses: lungs erased, lungs only, border only, and the map inside the lungs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from covidcxr.audit.context import (
    NO_MAP,
    AuditLimits,
    AuditResult,
    AuditTest,
    Context,
    column_auroc,
    measured,
)
from covidcxr.audit.pictures import bars
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray
from covidcxr.images.grey import Grey
from covidcxr.prediction.lungs import Mask

SHORTCUT = AuditLimits(passes=0.65, fails=0.8)
"""Limits of an AUROC that should be 0.5."""
ERASED = AuditTest("lungs_erased", "Lungs erased", "AUROC of COVID-19 with the lungs painted over", SHORTCUT)
BORDERED = AuditTest("border_only", "Border only", "AUROC of COVID-19 from the outer 15 % of the image alone", SHORTCUT)
ALONE = AuditTest(
    "lungs_only",
    "Lungs only",
    "AUROC of COVID-19 lost when everything except the lungs is painted over",
    AuditLimits(passes=0.1, fails=0.2),
)
INSIDE = AuditTest(
    "map_in_lungs",
    "Map inside the lungs",
    "share of the map in the lungs, divided by their share of the map's area",
    AuditLimits(passes=1.2, fails=1.0),
)
BORDER = 0.15
"""Width of the border as a share of the image's width and height."""
PAINT = np.uint8(128)
"""Grey of painted regions, the same in every image: the mean grey of the rest would reveal something about it."""
MARGIN = 0.02
"""Share of the image's width by which masks are widened, so that no edge of a lung remains."""


def lungs_erased(context: Context) -> AuditResult:
    """Measure what the model still knows with the lungs painted over."""
    return _without(context, _erased, ERASED, "With the lungs painted over")


def border_only(context: Context) -> AuditResult:
    """Measure what the model still knows from the border of the image alone."""
    return _without(context, _bordered, BORDERED, "From the outer 15 % of the image alone")


def lungs_only(context: Context) -> AuditResult:
    """Measure what the model loses when everything except the lungs is painted over."""
    covid, sample = context.subject.covid, context.sample
    greys = [_alone(grey, mask) for grey, mask in zip(sample.greys, context.masks, strict=True)]
    both = np.column_stack([context.outputs.scores[:, covid], context.subject.scores(greys)[:, covid]])
    whole, left = (column_auroc(column, covid) for column in (0, 1))

    def lost(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        return whole(y_true, y_score, weights) - left(y_true, y_score, weights)

    found, before, after = (measured(metric, sample.y_true, both, sample.groups) for metric in (lost, whole, left))
    says = (
        f"When only the lungs are visible, the model's AUROC for COVID-19 changes from {before.value:.2f} to "
        f"{after.value:.2f}."
    )
    return ALONE.judged(
        found,
        says,
        n=len(greys),
        picture=_shown(context, {"whole image": before, "lungs only": after}, greys),
        details={"whole": before.to_dict(), "lungs_only": after.to_dict()},
    )


def map_in_lungs(context: Context) -> AuditResult:
    """Compare the share of the evidence inside the lungs with their share of the area."""
    maps = context.outputs.maps
    if maps is None:
        return INSIDE.skipped(NO_MAP)
    inside, area = _shares(maps, context)
    usable = np.isfinite(inside) & (area > 0)
    if not usable.any():
        return INSIDE.skipped("no image has both a map and a lung")
    table, groups = np.column_stack([inside, area])[usable], context.sample.groups[usable]

    def ratio(_: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        of_evidence, of_area = (weights @ y_score).T
        quotient: FloatArray = of_evidence / of_area
        return quotient

    found = measured(ratio, np.zeros(len(table), np.int64), table, groups)
    evidence, lung = table.mean(axis=0).tolist()
    return INSIDE.judged(
        found,
        f"The lungs hold {100 * evidence:.0f} % of the model's evidence on {100 * lung:.0f} % of the area.",
        n=len(table),
        picture=bars({"evidence in lungs": evidence, "area of lungs": lung}),
        details={"evidence": evidence, "area": lung},
    )


def _without(context: Context, change: Callable[[Grey, Mask], Grey], test: AuditTest, part: str) -> AuditResult:
    """Measure the AUROC of COVID-19 on images that do not show the lungs."""
    covid, sample = context.subject.covid, context.sample
    greys = [change(grey, mask) for grey, mask in zip(sample.greys, context.masks, strict=True)]
    both = np.column_stack([context.outputs.scores[:, covid], context.subject.scores(greys)[:, covid]])
    whole, found = (measured(column_auroc(c, covid), sample.y_true, both, sample.groups) for c in (0, 1))
    says = (
        f"{part}, the model separates COVID-19 from the rest with an AUROC of {found.value:.2f} (whole image: "
        f"{whole.value:.2f}, guessing: 0.50)."
    )
    return test.judged(
        found,
        says,
        n=len(greys),
        picture=_shown(context, {"whole image": whole, test.title.lower(): found}, greys, test.limits),
        details={"whole": whole.to_dict()},
    )


def _shown(
    context: Context, figures: dict[str, Estimate], greys: list[Grey], limits: AuditLimits | None = None
) -> bytes:
    """Draw the AUROCs beside one image before and after."""
    return bars(figures, limits, chance=0.5, examples={"before": context.sample.greys[0], "after": greys[0]})


def _erased(grey: Grey, mask: Mask) -> Grey:
    return np.where(_widened(mask), PAINT, grey)


def _alone(grey: Grey, mask: Mask) -> Grey:
    return np.where(_widened(mask), grey, PAINT)


def _bordered(grey: Grey, _: Mask) -> Grey:
    height, width = grey.shape
    rows, columns = round(BORDER * height), round(BORDER * width)
    centre = np.zeros(grey.shape, bool)
    centre[rows : height - rows, columns : width - columns] = True
    return np.where(centre, PAINT, grey)


def _widened(mask: Mask) -> Mask:
    side = 2 * round(MARGIN * mask.shape[1]) + 1
    wide: Mask = np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(side)), bool)
    return wide


def _shares(maps: NDArray[np.float64], context: Context) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return which share of each image's positive evidence for its predicted class, and of the map's area, is lung."""
    called = context.outputs.scores.argmax(axis=1)
    left, top, right, bottom = context.subject.box
    inside, area = np.full(len(maps), np.nan), np.zeros(len(maps))
    for place, (values, mask) in enumerate(zip(maps, context.masks, strict=True)):
        positive = np.maximum(values[..., called[place]], 0)
        height, width = mask.shape
        box = (left * width, top * height, right * width, bottom * height)
        picture = Image.fromarray(mask.astype(np.float32)).resize(positive.shape[::-1], Image.Resampling.BOX, box=box)
        lung = np.asarray(picture)
        area[place] = lung.mean()
        if positive.sum() > 0:
            inside[place] = (positive * lung).sum() / positive.sum()
    return inside, area
