"""References for drift: the training images of a model, or an earlier batch."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from covidcxr.batch.drift import Histogram
from covidcxr.batch.storage import exists, join, read
from covidcxr.errors import BatchError

SUMMARY = "summary.json"
"""Name in the folder of a batch, which can thus be the reference of another."""
SHIPPED = "reference.json"
"""Asset with the distributions over the training images of the shipped model, made by ``covidcxr batch reference``."""
LARGEST = 2**24
"""Largest size of a reference in bytes."""
MISSING = (
    "Drift was not measured, because the package has no reference for this model. Pass --reference with an earlier "
    "batch of this model, or with a reference that 'covidcxr batch reference' makes from its training images."
)


def find_reference(name: str | None, model: str) -> dict[str, Any] | None:
    """Find the reference to compare the scores of a model with.

    Args:
        name: Folder of a batch, or a file like its summary.json; None for the reference in the package.
        model: Name and hash of the model file.

    Returns:
        A mapping with at least ``model``, ``images``, ``sources`` and ``histograms`` (for ``histograms()``); None if
        the package has no reference for this model.

    Raises:
        BatchError: The reference does not exist or belongs to another model.
    """
    if name is not None:
        return _read(name if name.endswith(".json") else join(name, SUMMARY), model)
    shipped = files("covidcxr") / "assets" / SHIPPED
    reference: dict[str, Any] = json.loads(shipped.read_text("utf-8")) if shipped.is_file() else {"model": None}
    return reference if reference["model"] == model else None


def histograms(reference: Mapping[str, Any]) -> dict[str, Histogram]:
    """Return the distributions of a reference, by quantity.

    Raises:
        ValueError, KeyError, TypeError: The mapping is not a reference.
    """
    return {name: Histogram.from_dict(values) for name, values in reference["histograms"].items()}


def _read(name: str, model: str) -> dict[str, Any]:
    if not exists(name):
        raise BatchError(f"Expected the folder of a finished batch, or a reference file. Received no {name}.")
    try:
        reference: dict[str, Any] = json.loads(read(name, LARGEST))
        histograms(reference)
        other, _, _ = (reference[key] for key in ("model", "images", "sources"))
    except (ValueError, KeyError, TypeError) as error:
        raise BatchError(f"Expected the summary of a batch or a reference. Received {name}: {error!r}.") from error
    if other != model:
        raise BatchError(f"Expected a reference made with the model {model}. Received {name}, made with {other}.")
    return reference
