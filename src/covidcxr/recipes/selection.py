"""Training, validation and test records of a recipe."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidcxr.data.manifest import Record, Split, data_hash
from covidcxr.data.splits import grouped_split
from covidcxr.errors import ManifestError
from covidcxr.labels import Label
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import Data, Recipe, Selection, parse_recipe


@dataclass(frozen=True)
class Parts:
    """The records of a recipe by their use. No patient and no near-duplicate is in two parts."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]

    @property
    def training_hash(self) -> str:
        """Hash of the training and validation records: see covidcxr.data.manifest.data_hash."""
        return data_hash(self.train + self.validation)


def split_parts(records: Sequence[Record], recipe: Recipe) -> Parts:
    """Divide the records that a recipe selects by the splits of the manifest. External records are in no part.

    Raises:
        ManifestError: A class of the recipe has no record.
    """
    internal = [record for record in records if record.split is not Split.EXTERNAL]
    chosen = select(internal, recipe.data, seed=recipe.training.seed)
    train = [record for record in chosen if record.split is Split.TRAIN]
    test = [record for record in chosen if record.split is Split.TEST]
    validation: list[Record] = []
    if recipe.training.validation_folds:
        train, validation = grouped_split(
            train, test_share_folds=recipe.training.validation_folds, seed=recipe.training.seed
        )
    return Parts(train=train, validation=validation, test=test)


def trained_parts(records: Sequence[Record], predictor: Predictor) -> Parts:
    """Find the records that a model was trained, validated and tested on.

    Args:
        records: The manifest it was trained on.
        predictor: The model; its file holds the recipe and the hash of the training data.

    Raises:
        RecipeError: The model file holds no valid recipe.
        ManifestError: The model was trained on another manifest, so it may have seen the test images of this one.
    """
    parts = split_parts(records, parse_recipe(predictor.artifact.recipe, predictor.model))
    expected = predictor.artifact.data_hash
    if parts.training_hash != expected:
        raise ManifestError(
            f"Expected the manifest on which {predictor.model} was trained (data hash {expected}). "
            f"Received one with the hash {parts.training_hash}: the model may have seen its test images."
        )
    return parts


def select(records: Sequence[Record], data: Data, *, seed: int) -> list[Record]:
    """Choose the records of a recipe.

    With ``limit_per_class``, every class is reduced by a seeded random choice to the size of the smallest class, and
    to the limit at most.

    Returns:
        Records in the order of the manifest.

    Raises:
        ManifestError: A class of the recipe has no record.
    """
    chosen = [record for record in records if any(_matches(record, selection) for selection in data.select)]
    counts = Counter(record.label for record in chosen)
    for selection in data.select:
        if not counts[selection.label]:
            where = " or ".join(selection.sources) or "any source"
            raise ManifestError(f"Expected records of {selection.label} of {where}. Received none in the manifest.")
    if data.limit_per_class is None:
        return chosen
    limit = min(data.limit_per_class, *counts.values())
    order = np.random.default_rng(seed).permutation(len(chosen))
    taken: Counter[Label] = Counter()
    kept = set()
    for index in order:
        label = chosen[index].label
        if taken[label] < limit:
            taken[label] += 1
            kept.add(index)
    return [record for index, record in enumerate(chosen) if index in kept]


def _matches(record: Record, selection: Selection) -> bool:
    return (
        record.label == selection.label
        and (not selection.sources or record.source in selection.sources)
        and (not selection.views or record.view in selection.views)
    )
