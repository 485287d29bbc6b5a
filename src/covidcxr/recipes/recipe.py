"""Training recipes: TOML files with everything a run depends on except the data, read strictly."""

import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from covidcxr.data.manifest import View
from covidcxr.errors import RecipeError
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import LABELS, Label


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Selection(_Table):
    """Selected records of one class. Empty ``sources`` or ``views`` means all."""

    label: Label
    sources: tuple[str, ...] = ()
    views: tuple[View, ...] = ()


class Data(_Table):
    """Selected records. With ``limit_per_class``, every class has the same number, at most that many."""

    select: tuple[Selection, ...] = Field(min_length=1)
    limit_per_class: int | None = Field(default=None, gt=0)


class Network(_Table):
    """The network; see covidcxr.training.networks.build."""

    architecture: str
    weights: str | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Augmentation(_Table):
    """Random changes of the training images; zero or false disables a change.

    Attributes:
        flip: Mirror left and right with probability 0.5.
        rotation: Largest angle in degrees, either way.
        translation: Largest shift as a share of the side, either way.
        zoom: Largest change of width and height, independently, as a share, either way.
        brightness: Largest shift of the grey values as a share of 255, either way.
        contrast: Largest change of the contrast as a share, either way.
    """

    flip: bool = False
    rotation: float = Field(default=0, ge=0, le=180)
    translation: float = Field(default=0, ge=0, lt=1)
    zoom: float = Field(default=0, ge=0, lt=1)
    brightness: float = Field(default=0, ge=0, le=1)
    contrast: float = Field(default=0, ge=0, lt=1)

    @property
    def moves(self) -> bool:
        """Whether the geometry changes."""
        return bool(self.flip or self.rotation or self.translation or self.zoom)


class Phase(_Table):
    """A phase of training with one set of trainable layers.

    Attributes:
        trainable: ``all``, or the name of the first trainable layer (``head``: only the last).
        epochs: Passes over the training images.
        learning_rate: Learning rate of Adam at the start.
        decay: Whether the rate falls to zero along a cosine.
    """

    trainable: str
    epochs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    decay: bool = True


class RobustHead(_Table):
    """A head that is computed from features of frozen layers instead of trained; see covidcxr.training.robust_head.

    Attributes:
        within: Weight of the difference between pneumonia and normal of the same origin.
        opacities: Weight of the effect of synthetic opacities.
        contrast: Weight of a logistic regression of COVID-19 against normal, which also learns the collections.
        inverse_regularisation: C of the logistic regressions in scikit-learn.
    """

    within: float = Field(ge=0)
    opacities: float = Field(ge=0)
    contrast: float = Field(ge=0)
    inverse_regularisation: float = Field(gt=0)


class Training(_Table):
    """Fitting of the network.

    Attributes:
        seed: Seed of weights, order, augmentation, dropout and validation groups.
        batch_size: Images per step.
        validation_folds: One part in this many of the training groups is kept for validation; 0 keeps none.
        class_weights: Whether all classes have equal weight in the loss.
        phases: Phases in order; none with a robust head.
        robust_head: Head that is computed instead, with equal class weights.
    """

    seed: int
    batch_size: int = Field(gt=0)
    validation_folds: int = Field(default=0, ge=0)
    class_weights: bool = False
    phases: tuple[Phase, ...] = ()
    robust_head: RobustHead | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.phases) == bool(self.robust_head):
            raise ValueError("Expected either phases or robust_head.")
        return self


def _preprocessing(value: Any) -> Preprocessing:  # noqa: ANN401 - any TOML value
    known = [field.name for field in fields(Preprocessing)]
    if not isinstance(value, dict) or set(value) - set(known):
        raise ValueError(f"Expected a table of {', '.join(known)}. Received {value}.")
    try:
        return Preprocessing(**value)
    except TypeError as error:
        raise ValueError(f"Expected size, crop and equalize. Received {value}.") from error


class Recipe(_Table):
    """A recipe: everything a run depends on except the data and the machine."""

    name: str
    description: str
    data: Data
    preprocessing: Annotated[Preprocessing, BeforeValidator(_preprocessing)]
    model: Network
    augmentation: Augmentation = Augmentation()
    training: Training

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.training.robust_head and self.labels != LABELS:
            raise ValueError(f"Expected the classes {', '.join(LABELS)} for robust_head.")
        return self

    @property
    def labels(self) -> tuple[Label, ...]:
        """Classes of the model, in the order of covidcxr.labels."""
        chosen = {selection.label for selection in self.data.select}
        return tuple(label for label in LABELS if label in chosen)


def recipe_text(name_or_path: str) -> str:
    """Return the TOML text of a recipe of the package, or of a file.

    Raises:
        RecipeError: The argument is neither a recipe's name nor a file.
    """
    folder = files("covidcxr") / "recipes"
    names = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name_or_path in names:
        return (folder / f"{name_or_path}.toml").read_text("utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"Expected a recipe of {', '.join(names)}, or a TOML file. Received {name_or_path!r}.")
    return path.read_text("utf-8")


def parse_recipe(text: str, name: str) -> Recipe:
    """Parse and check the text of a recipe.

    Args:
        text: TOML.
        name: Name of the recipe in messages.

    Raises:
        RecipeError: The text is not TOML, or has unknown or missing keys or invalid values; the message names all.
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"Expected a recipe in TOML. Received {name}: {error}.") from error
    except ValidationError as error:
        flaws = "; ".join(_flaw(one["loc"], one["msg"], one["input"]) for one in error.errors())
        raise RecipeError(f"Expected a valid recipe. Received {name}: {flaws}.") from error


def _flaw(place: tuple[int | str, ...], says: str, received: object) -> str:
    value = f" ({received!r})" if isinstance(received, str | int | float) else ""
    return f"{'.'.join(map(str, place))}: {says.rstrip('.')}{value}"
