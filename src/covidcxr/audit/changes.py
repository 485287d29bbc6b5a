"""Tests of changes that do not affect the disease: text and markers, mirroring, exposure."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covidcxr.audit.context import AuditLimits, AuditResult, AuditTest, Context, mean_of, stratified
from covidcxr.audit.pictures import bars
from covidcxr.images.grey import Grey

MARKERS = AuditTest(
    "markers",
    "Text and markers",
    "mean change of the probability of COVID-19 by the mark with the largest effect",
    AuditLimits(passes=0.05, fails=0.15),
)
KEPT = AuditLimits(passes=0.9, fails=0.8)
"""Limits of the share of answers that stay the same."""
LIMIT = 120
"""Most images on which every mark is tried."""
TEXTS = ("COVID", "PORTABLE AP", "R")
PLACES: Mapping[str, tuple[float, float]] = {
    "top left": (0.03, 0.03), "top right": (0.97, 0.03), "bottom left": (0.03, 0.97), "bottom right": (0.97, 0.97),
}  # fmt: skip
"""Position of the text's edge as shares of the image's width and height."""
BLANK = "black patch"
HEIGHT = 0.07
"""Height of the letters as a share of the image's height; a black patch has three times that."""


def markers(context: Context) -> AuditResult:
    """Measure how far a text, a marker or a patch at the edge moves the probability of COVID-19."""
    sample, covid = context.sample, context.subject.covid
    chosen = {record.id for record in stratified(sample.records, LIMIT)}
    places = [place for place, record in enumerate(sample.records) if record.id in chosen]
    greys, groups, before = [sample.greys[p] for p in places], sample.groups[places], context.outputs.scores[places]
    found, flipped, examples = {}, {}, {}
    for text in (*TEXTS, BLANK):
        for place in PLACES:
            changed = [with_mark(grey, text, place) for grey in greys]
            after = context.subject.scores(changed)
            name = f"{text}, {place}"
            found[name] = mean_of(np.abs(after[:, covid] - before[:, covid]), groups)
            flipped[name] = float((after.argmax(axis=1) != before.argmax(axis=1)).mean())
            examples[name] = changed[0]
    worst = max(found, key=lambda name: found[name].value)
    text, place = worst.split(", ")
    says = (
        f"{'A black patch' if text == BLANK else f'The text {text}'} at the {place} moves the probability of COVID-19 "
        f"by {found[worst].value:.2f} on average and changes the answer of {100 * flipped[worst]:.0f} % of the images."
    )
    return MARKERS.judged(
        found[worst],
        says,
        n=len(greys),
        picture=bars(found, MARKERS.limits, examples={"before": greys[0], f"after: {worst}": examples[worst]}),
        details={name: found[name].to_dict() | {"answers_changed": flipped[name]} for name in found},
    )


def flip(context: Context) -> AuditResult:
    """Measure the share of answers that stay the same when the image is mirrored."""
    return _kept(
        context,
        {"mirrored": lambda grey: np.ascontiguousarray(grey[:, ::-1])},
        name="flip",
        title="Mirrored",
        when="the image is mirrored",
    )


def exposure(context: Context) -> AuditResult:
    """Measure the share of answers that stay the same at another brightness or contrast."""
    return _kept(
        context,
        {
            "darker (gamma 1.25)": lambda grey: _mapped(grey, lambda unit: unit**1.25),
            "lighter (gamma 0.8)": lambda grey: _mapped(grey, lambda unit: unit**0.8),
            "contrast x 1.2": lambda grey: _mapped(grey, lambda unit: 0.5 + 1.2 * (unit - 0.5)),
            "contrast x 0.8": lambda grey: _mapped(grey, lambda unit: 0.5 + 0.8 * (unit - 0.5)),
        },
        name="exposure",
        title="Exposure and contrast",
        when="the exposure changes",
    )


def with_mark(grey: Grey, text: str, place: str) -> Grey:
    """Return an image with a text, or a black patch, at one of PLACES."""
    image = Image.fromarray(grey)
    x, y = PLACES[place]
    height = max(6, round(HEIGHT * image.height))
    at = (round(x * image.width), round(y * image.height))
    draw = ImageDraw.Draw(image)
    if text == BLANK:
        (left, right), (top, bottom) = (
            sorted((a, a + (3 if a < b / 2 else -3) * height)) for a, b in zip(at, image.size, strict=True)
        )
        draw.rectangle((left, top, right, bottom), fill=0)
    else:
        anchor = ("l" if x < 0.5 else "r") + ("a" if y < 0.5 else "d")
        draw.text(at, text, fill=250, font=ImageFont.load_default(size=height), anchor=anchor)
    return np.asarray(image)


def _kept(
    context: Context, changes: Mapping[str, Callable[[Grey], Grey]], *, name: str, title: str, when: str
) -> AuditResult:
    """Measure the share of answers that stay the same under the change that affects most."""
    sample, before = context.sample, context.outputs.scores.argmax(axis=1)
    found, examples, details = {}, {"before": sample.greys[0]}, {}
    for how, change in changes.items():
        greys = [change(grey) for grey in sample.greys]
        found[how] = mean_of(context.subject.scores(greys).argmax(axis=1) == before, sample.groups)
        examples[how] = greys[0]
        details[how] = found[how].to_dict()
    worst = min(found, key=lambda name: found[name].value)
    test = AuditTest(name, title, f"share of answers that stay the same, {worst}", KEPT)
    return test.judged(
        found[worst],
        f"{100 * found[worst].value:.0f} % of the answers stay the same when {when}.",
        n=len(sample.greys),
        picture=bars(found, KEPT, examples=examples),
        details=details,
    )


def _mapped(grey: Grey, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Grey:
    """Change the grey values, given as 0..1."""
    table: Any = np.clip(np.rint(255 * change(np.arange(256) / 255)), 0, 255).astype(np.uint8)
    changed: Grey = table[grey]
    return changed
