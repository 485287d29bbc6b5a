"""The candidates of study_features.py, group by group: each group changes one thing."""

from dataclasses import dataclass
from typing import Literal

from study_heads import Fit, difference_of_means, discriminant, logistic, multinomial, robust
from study_pictures import SMALLER

BASELINE_C = 0.003
LATE = ("stage4", "stage5", "stage6")
"""The layers of covidcxr.training.networks.lung_pooled."""
RECIPE = robust(within=1, opacities=10, contrast=0.5)
"""As recipes/default.toml has it."""

Kept = Literal["baseline"] | bool


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way from pictures to a score.

    Attributes:
        name: In the table.
        says: One sentence: what it is.
        fit: How the head is made.
        variant: Pictures, a name of study_pictures.VARIANTS.
        second: Pictures of the same images that the head may learn a difference from; ``variant`` for none.
        layers: Keys of study_network.LAYERS, one after the other.
        pool: How a layer becomes a vector, see study_features.
        kept: Whether it is a part of the recipe ``default``.
    """

    name: str
    says: str
    fit: Fit
    variant: str = "default"
    second: str = "default"
    layers: tuple[str, ...] = LATE
    pool: str = "lungs"
    kept: Kept = False


@dataclass(frozen=True)
class Group:
    """Candidates that differ in one thing; ``name`` is that of their table."""

    name: str
    candidates: tuple[Candidate, ...]


def _baseline(name: str, says: str, variant: str, kept: Kept) -> Candidate:
    fit = logistic(BASELINE_C)
    return Candidate(
        name=name, says=says, fit=fit, variant=variant, second=variant, layers=("top",), pool="whole", kept=kept
    )


def _head(name: str, says: str, fit: Fit, *, second: str = "default", kept: bool = False) -> Candidate:
    return Candidate(name=name, says=says, fit=fit, second=second, layers=("top",), pool="whole", kept=kept)


def _layer(name: str, side: int) -> Candidate:
    says = f"Features of {name}, {side} x {side} cells, averaged over the whole picture."
    return Candidate(name=name, says=says, fit=difference_of_means, layers=(name,), pool="whole")


def _place(name: str, says: str, pool: str, *, variant: str = "default", kept: bool = False) -> Candidate:
    return Candidate(
        name=name, says=says, fit=difference_of_means, variant=variant, second=variant, pool=pool, kept=kept
    )


def _picture(name: str, says: str, variant: str, *, kept: bool = False) -> Candidate:
    return Candidate(name=name, says=says, fit=difference_of_means, variant=variant, second=variant, kept=kept)


def _evidence(name: str, says: str, fit: Fit, *, kept: bool = False) -> Candidate:
    return Candidate(name=name, says=says, fit=fit, second="opaque", kept=kept)


GROUPS = (
    Group(
        "baseline",
        (
            _baseline(
                "baseline",
                "Logistic regression on the last layer; whole picture, no blur, not equalised.",
                "as-published",
                "baseline",
            ),
            _baseline("prepared picture", "The same; 80 % crop, blurred by 1.5 px, equalised.", "default", True),
        ),
    ),
    Group(
        "classifier",
        (
            _head(
                "balanced by origin",
                "Logistic regression; every origin of a class counts the same.",
                logistic(BASELINE_C, by_origin=True),
            ),
            *(
                _head(
                    f"discriminant, ridge {ridge}",
                    f"Difference of means through the covariance within origin and class plus {ridge} on its diagonal.",
                    discriminant(ridge),
                )
                for ridge in (10, 100, 1000)
            ),
            *(
                _head(
                    f"away from origins, {weight}",
                    f"Ridge 100; directions in which the origins of a class differ are penalised with weight {weight}.",
                    discriminant(100, origins=weight),
                )
                for weight in (1, 10, 100)
            ),
            *(
                _head(
                    f"away from styles, {weight}",
                    f"Ridge 100; directions in which another style moves a picture are penalised with weight {weight}.",
                    discriminant(100, styles=weight),
                    second="styled",
                )
                for weight in (10, 100)
            ),
            _head(
                "difference of means",
                "Mean COVID-19 minus mean normal, every origin counting the same: nothing is fitted.",
                difference_of_means,
                kept=True,
            ),
        ),
    ),
    Group(
        "layer",
        (
            _layer("stage3", 14),
            *(_layer(name, side) for name, side in zip(LATE, (14, 7, 7), strict=True)),
            _layer("top", 7),
            _place("stages 4 to 6", "Stages 4, 5 and 6, one after the other.", "whole", kept=True),
        ),
    ),
    Group(
        "place",
        (
            _place("whole picture", "Averaged over the whole picture.", "whole"),
            _place("lung box", "The picture cut to the box around the lungs.", "whole", variant="lung-box"),
            _place("lungs", "Averaged over the lungs.", "lungs", kept=True),
            _place("lungs minus outside", "Average over the lungs minus that over the rest.", "lungs minus outside"),
            _place(
                "lungs, normalised",
                "Average over the lungs minus that over the picture, divided by the spread over the picture.",
                "instance",
            ),
        ),
    ),
    Group(
        "preprocessing",
        (
            _picture("as in the recipe", "80 % crop, blurred by 1.5 px, equalised.", "default", kept=True),
            _picture("no blur", "The same without blur.", "blur-0"),
            _picture("more blur", "The same, blurred by 3 px.", "blur-3"),
            _picture("not equalised", "The same without equalising.", "not-equalised"),
            _picture("no crop", "The same, the whole picture.", "crop-1.0"),
            _picture("smaller crop", "The same, 70 % crop.", "crop-0.7"),
        ),
    ),
    Group(
        "evidence",
        (
            _evidence("difference of means", "COVID-19 minus normal alone.", robust()),
            _evidence("+ within 1", "Pneumonia minus normal of the same origin added.", robust(within=1), kept=True),
            _evidence(
                "+ opacities 3", "The effect of synthetic opacities added, times 3.", robust(within=1, opacities=3)
            ),
            _evidence(
                "+ opacities 10",
                "The same, times 10, in place of 3.",
                robust(within=1, opacities=10),
                kept=True,
            ),
            _evidence(
                "+ contrast 0.5",
                "A logistic regression of COVID-19 against normal added, half as strong: the recipe.",
                RECIPE,
                kept=True,
            ),
            _evidence("+ contrast 1", "The same, as strong.", robust(within=1, opacities=10, contrast=1)),
            Candidate(
                name="recipe, stage6 alone",
                says="As the recipe, on one layer in place of three.",
                fit=RECIPE,
                second="opaque",
                layers=LATE[-1:],
            ),
            Candidate(
                name="recipe, not equalised",
                says="As the recipe, the features taken from pictures that are not equalised.",
                fit=RECIPE,
                variant="not-equalised",
                second="opaque-not-equalised",
            ),
        ),
    ),
    Group(
        "cost",
        (
            _evidence("as in the recipe", "Pictures of 224 x 224, three layers.", RECIPE, kept=True),
            *(
                Candidate(
                    name=f"{size} px",
                    says=f"The same, pictures of {size} x {size}.",
                    fit=RECIPE,
                    variant=f"size-{size}",
                    second=f"opaque-size-{size}",
                )
                for size in SMALLER
            ),
            Candidate(
                name="stages 4 and 5",
                says="The same, 224 x 224, without the last layer.",
                fit=RECIPE,
                second="opaque",
                layers=LATE[:-1],
            ),
        ),
    ),
    Group(
        "fitted",
        tuple(
            Candidate(
                name=f"multinomial, C = {c:g}",
                says=f"Multinomial logistic regression of all three classes, C = {c:g}.",
                fit=multinomial(c),
            )
            for c in (0.0001, 0.01)
        ),
    ),
)
