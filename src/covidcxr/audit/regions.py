"""Tests of where the model looks: lungs painted over, lungs only, border only, and the map against the lungs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from covidcxr.audit.context import NO_MAP, Context, Limits, Result, column_auroc, finding, measured
from covidcxr.audit.pictures import bars
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray
from covidcxr.images.grey import Grey
from covidcxr.prediction.lungs import Mask
from covidcxr.prediction.verdict import Verdict

SHORTCUT = Limits(passes=0.65, fails=0.8)
"""Of an AUROC that should be 0.5."""
LOST = Limits(passes=0.1, fails=0.2)
"""Of an AUROC that should be lost nowhere."""
INSIDE = Limits(passes=1.2, fails=1.0)
"""Times the share of the lungs in the area."""
BORDER = 0.15
PAINT = np.uint8(128)
"""The same in every picture: the mean grey of what is left would carry its secrets under the paint."""
MARGIN = 0.02
"""Share of the picture's width by which masks are widened, so that no edge of a lung stays."""


def lungs_erased(context: Context) -> Result:
    """What the model still knows when the lungs are painted over."""
    return _without(
        context,
        _erased,
        test="lungs_erased",
        title="Lungs erased",
        part="with the lungs painted over",
    )


def border_only(context: Context) -> Result:
    """What the model still knows when only the border of the picture is left."""
    return _without(
        context, _bordered, test="border_only", title="Border only", part="from the outer 15 % of the picture alone"
    )


def lungs_only(context: Context) -> Result:
    """What the model loses when everything but the lungs is painted over."""
    covid, sample = context.subject.covid, context.sample
    greys = [_alone(grey, mask) for grey, mask in zip(sample.greys, context.masks, strict=True)]
    both = np.column_stack([context.outputs.scores[:, covid], context.subject.scores(greys)[:, covid]])
    whole, left = (column_auroc(column, covid) for column in (0, 1))

    def lost(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        return whole(y_true, y_score, weight) - left(y_true, y_score, weight)

    found, before, after = (measured(metric, sample.y_true, both, sample.groups) for metric in (lost, whole, left))
    says = (
        f"With nothing but the lungs to see, the model's AUROC for COVID-19 goes from {before.value:.2f} to "
        f"{after.value:.2f}: {'little is' if found.value <= LOST.passes else 'what is missing was'} "
        f"{'lost' if found.value <= LOST.passes else 'seen elsewhere'}."
    )
    return Result(
        test="lungs_only",
        title="Lungs only",
        figure="AUROC of COVID-19 lost when all but the lungs is painted over",
        rule=LOST.text,
        finding=finding("lungs_only", LOST, found, says),
        n=len(greys),
        picture=_shown(context, {"whole picture": before, "lungs only": after}, greys),
        details={"whole": before.to_dict(), "lungs_only": after.to_dict()},
    )


def map_in_lungs(context: Context) -> Result:
    """How much more of the evidence lies in the lungs than their area alone would hold."""
    about: dict[str, Any] = {
        "test": "map_in_lungs",
        "title": "Map inside the lungs",
        "figure": "share of the map in the lungs, divided by their share of the map's area",
        "rule": INSIDE.text,
    }
    maps = context.outputs.maps
    if maps is None:
        return Result(**about, reason=NO_MAP)
    inside, area = _shares(maps, context)
    usable = np.isfinite(inside) & (area > 0)
    if not usable.any():
        return Result(**about, reason="no map and no lung in any image")
    table, groups = np.column_stack([inside, area])[usable], context.sample.groups[usable]

    def ratio(_: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        return float(weight @ y_score[:, 0] / (weight @ y_score[:, 1]))

    found = measured(ratio, np.zeros(len(table), np.int64), table, groups)
    shares = table.mean(axis=0)
    says = (
        f"The lungs take {shares[1]:.0%} of the area and {shares[0]:.0%} of the model's evidence: "
        f"{'it looks there more than anywhere else' if found.value > 1 else 'it looks elsewhere as much or more'}."
    )
    return Result(
        **about,
        finding=finding("map_in_lungs", INSIDE, found, says),
        n=len(table),
        picture=bars({"evidence in lungs": float(shares[0]), "area of lungs": float(shares[1])}),
        details={"evidence": float(shares[0]), "area": float(shares[1])},
    )


def _without(context: Context, change: Callable[[Grey, Mask], Grey], *, test: str, title: str, part: str) -> Result:
    """Measure the AUROC of COVID-19 where the lungs cannot be seen."""
    covid, sample = context.subject.covid, context.sample
    greys = [change(grey, mask) for grey, mask in zip(sample.greys, context.masks, strict=True)]
    both = np.column_stack([context.outputs.scores[:, covid], context.subject.scores(greys)[:, covid]])
    whole, found = (measured(column_auroc(c, covid), sample.y_true, both, sample.groups) for c in (0, 1))
    verdict = SHORTCUT.verdict(found)
    meaning = "close to guessing" if verdict is Verdict.PASS else "what tells them apart there is not in the lungs"
    says = (
        f"The model tells COVID-19 from the rest with an AUROC of {found.value:.2f} {part} "
        f"(whole picture: {whole.value:.2f}, guessing: 0.50): {meaning}."
    )
    return Result(
        test=test,
        title=title,
        figure=f"AUROC of COVID-19 {part}",
        rule=SHORTCUT.text,
        finding=finding(test, SHORTCUT, found, says),
        n=len(greys),
        picture=_shown(context, {"whole picture": whole, title.lower(): found}, greys, SHORTCUT),
        details={"whole": whole.to_dict()},
    )


def _shown(context: Context, figures: dict[str, Estimate], greys: list[Grey], limits: Limits | None = None) -> bytes:
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
    """Return the share of each image's positive evidence for its predicted class, and of the area, that is lung."""
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
