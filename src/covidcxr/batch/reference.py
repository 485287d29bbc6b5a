"""What a batch is compared with: the training images of the model that comes with the package, or an earlier batch."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from covidcxr.batch.drift import Histogram
from covidcxr.batch.storage import BatchError, exists, join, read

SUMMARY = "summary.json"
"""In the folder of a batch: a reference for others."""
SHIPPED = "reference.json"
"""Among the assets: the summary of the training images, made by scripts/make_reference.py."""
LARGEST = 2**24
"""Bytes that are read of a reference."""
MISSING = (
    "Drift was not measured: the reference in the package belongs to another model. Give --reference: an earlier batch "
    "of this model, or what scripts/make_reference.py makes of its training images."
)


def find_reference(name: str | None, model: str) -> dict[str, Any] | None:
    """Return what to compare the scores of a model with.

    Args:
        name: Folder of a batch, or a file like its summary.json; None for the training images.
        model: Name and hash of the model file.

    Returns:
        At least ``model``, ``images``, ``sources`` and ``histograms``, the latter for ``histograms()``; None where the
        package knows no training images of this model.

    Raises:
        BatchError: There is no such reference, or its scores are another model's.
    """
    if name is not None:
        return _read(name if name.endswith(".json") else join(name, SUMMARY), model)
    shipped = files("covidcxr") / "assets" / SHIPPED
    reference: dict[str, Any] = json.loads(shipped.read_text("utf-8")) if shipped.is_file() else {"model": None}
    return reference if reference["model"] == model else None


def histograms(reference: Mapping[str, Any]) -> dict[str, Histogram]:
    """Return the distributions of a reference, by quantity.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    return {name: Histogram.from_dict(values) for name, values in reference["histograms"].items()}


def _read(name: str, model: str) -> dict[str, Any]:
    if not exists(name):
        raise BatchError(f"Expected the --out folder of a finished batch as a reference. Received no {name}.")
    try:
        reference: dict[str, Any] = json.loads(read(name, LARGEST))
        histograms(reference)
        other, _, _ = (reference[key] for key in ("model", "images", "sources"))
    except (ValueError, KeyError, TypeError) as error:
        raise BatchError(f"Expected the summary of a batch. Received {name}: {error!r}.") from error
    if other != model:
        raise BatchError(f"Expected a reference made by the model {model}. Received one by {other}: {name}.")
    return reference
