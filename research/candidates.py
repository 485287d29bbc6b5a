"""The candidates that experiments.py compares, in groups that each change one thing."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from heads import Fit, difference_of_means, discriminant, logistic, multinomial, robust
from variants import SMALLER

BASELINE_C = 0.003
LATE = ("stage4", "stage5", "stage6")
"""The layers of covidcxr.training.networks.lung_pooled."""
RECIPE = robust(within=1, opacities=10, contrast=0.5)
"""As in recipes/default.toml."""


@dataclass(frozen=True)
class Candidate:
    """One way from an image to a score.

    Attributes:
        name: Name in the table.
        says: What it is, in one sentence.
        fit: Function that makes the head.
        kept: Whether the recipe ``default`` has it.
        variant: Images, a name in variants.VARIANTS.
        second: Variant of the same images that the head may learn a difference from; None for ``variant``.
        layers: Layers whose features are concatenated, keys of features.LAYERS.
        pool: How a layer becomes a vector, see experiments.pooled.
    """

    name: str
    says: str
    fit: Fit
    kept: Literal["baseline"] | bool = False
    variant: str = "default"
    second: str | None = None
    layers: tuple[str, ...] = LATE
    pool: str = "lungs"


_last_layer = partial(Candidate, layers=("top",), pool="whole")
_means = partial(Candidate, fit=difference_of_means)
_with_opacities = partial(Candidate, second="opaque")

GROUPS: dict[str, tuple[Candidate, ...]] = {
    "baseline": (
        _last_layer(
            "baseline",
            "Logistic regression on the last layer; whole image, no blur, not equalised.",
            logistic(BASELINE_C),
            "baseline",
            "as-published",
        ),
        _last_layer(
            "prepared picture", "The same; 80 % crop, blurred by 1.5 px, equalised.", logistic(BASELINE_C), True
        ),
    ),
    "classifier": (
        _last_layer(
            "balanced by origin",
            "Logistic regression with equal weight for every origin of a class.",
            logistic(BASELINE_C, by_origin=True),
        ),
        *(
            _last_layer(
                f"discriminant, ridge {ridge}",
                f"Linear discriminant; {ridge} added to the diagonal of the covariance within origin and class.",
                discriminant(ridge),
            )
            for ridge in (10, 100, 1000)
        ),
        *(
            _last_layer(
                f"away from origins, {weight}",
                f"Ridge 100; directions that separate the origins of a class penalised with weight {weight}.",
                discriminant(100, origins=weight),
            )
            for weight in (1, 10, 100)
        ),
        *(
            _last_layer(
                f"away from styles, {weight}",
                f"Ridge 100; directions in which another style moves an image penalised with weight {weight}.",
                discriminant(100, styles=weight),
                second="styled",
            )
            for weight in (10, 100)
        ),
        _last_layer(
            "difference of means",
            "Mean COVID-19 minus mean normal with equal weight for every origin: nothing is fitted.",
            difference_of_means,
            True,
        ),
    ),
    "layer": (
        *(
            _means(
                name,
                f"Features of {name}, {side} x {side} cells, averaged over the whole image.",
                layers=(name,),
                pool="whole",
            )
            for name, side in (("stage3", 14), ("stage4", 14), ("stage5", 7), ("stage6", 7), ("top", 7))
        ),
        _means("stages 4 to 6", "Stages 4, 5 and 6 concatenated.", kept=True, pool="whole"),
    ),
    "place": (
        _means("whole picture", "Averaged over the whole image.", pool="whole"),
        _means("lung box", "The image cropped to the box around the lungs.", variant="lung-box", pool="whole"),
        _means("lungs", "Averaged over the lungs.", kept=True),
        _means(
            "lungs minus outside", "Average over the lungs minus average over the rest.", pool="lungs minus outside"
        ),
        _means(
            "lungs, normalised",
            "Average over the lungs minus average over the image, divided by the standard deviation over the image.",
            pool="instance",
        ),
    ),
    "preprocessing": (
        _means("as in the recipe", "80 % crop, blurred by 1.5 px, equalised.", kept=True),
        _means("no blur", "The same without blur.", variant="blur-0"),
        _means("more blur", "The same, blurred by 3 px.", variant="blur-3"),
        _means("not equalised", "The same without equalising.", variant="not-equalised"),
        _means("no crop", "The same, uncropped.", variant="crop-1.0"),
        _means("smaller crop", "The same, 70 % crop.", variant="crop-0.7"),
    ),
    "evidence": (
        _with_opacities("difference of means", "COVID-19 minus normal alone.", robust()),
        _with_opacities("+ within 1", "Plus pneumonia minus normal of the same origin.", robust(within=1), True),
        _with_opacities(
            "+ opacities 3", "Plus 3 times the effect of synthetic opacities.", robust(within=1, opacities=3)
        ),
        _with_opacities("+ opacities 10", "The same, 10 times instead of 3.", robust(within=1, opacities=10), True),
        _with_opacities(
            "+ contrast 0.5",
            "Plus a logistic regression of COVID-19 against normal, half as strong: the recipe.",
            RECIPE,
            True,
        ),
        _with_opacities("+ contrast 1", "The same, as strong.", robust(within=1, opacities=10, contrast=1)),
        _with_opacities("recipe, stage6 alone", "The recipe on one layer instead of three.", RECIPE, layers=LATE[-1:]),
        Candidate(
            "recipe, not equalised",
            "The recipe on images that are not equalised.",
            RECIPE,
            variant="not-equalised",
            second="opaque-not-equalised",
        ),
    ),
    "cost": (
        _with_opacities("as in the recipe", "Images of 224 x 224, three layers.", RECIPE, True),
        *(
            Candidate(
                f"{size} px",
                f"The same, images of {size} x {size}.",
                RECIPE,
                variant=f"size-{size}",
                second=f"opaque-size-{size}",
            )
            for size in SMALLER
        ),
        _with_opacities("stages 4 and 5", "The same, 224 x 224, without the last layer.", RECIPE, layers=LATE[:-1]),
    ),
    "fitted": tuple(
        Candidate(
            f"multinomial, C = {c:g}",
            f"Multinomial logistic regression of all three classes, C = {c:g}.",
            multinomial(c),
        )
        for c in (0.0001, 0.01)
    ),
}
