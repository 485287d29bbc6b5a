"""covidcxr: COVID-19 on frontal chest X-rays, for education and research only.

Example:
    >>> import covidcxr
    >>> model = covidcxr.load_model()
    >>> model.predictor.artifact.name
    'covidcxr-default'

    ``model.predict("chest.png")`` scores a file; see covidcxr.prediction.model.Model.
"""

import os
from importlib import import_module

TYPE_CHECKING = False  # the module typing costs as much as the rest of this file
if TYPE_CHECKING:
    from covidcxr.prediction.model import Model, load_model
    from covidcxr.prediction.predictor import Prediction

__all__ = ["DISCLAIMER", "Model", "Prediction", "__version__", "load_model"]
__version__ = "0.1.0"

DISCLAIMER = "For education and research only. Not a medical device, not a diagnosis."

# From version 1.29 on ONNX Runtime reports to its maker unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {
    "Model": "covidcxr.prediction.model",
    "Prediction": "covidcxr.prediction.predictor",
    "load_model": "covidcxr.prediction.model",
}
"""Module of each public name that costs more to import than the rest of this file."""


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'covidcxr' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
