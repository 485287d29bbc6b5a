"""UIDs of results: worked out from what each stands for, so that a result that is made again is the same object."""

import uuid
from typing import Final

from covidcxr import __version__

_NAMESPACE: Final = uuid.UUID("6f0c39a4-2b0e-4a6e-9d5d-0a4c0f6b7f52")
"""Random, drawn once for covidcxr (RFC 9562 section 5.5). Another one would give every result another UID."""


def result_uid(source: str, model: str, kind: str) -> str:
    """Return the UID of one thing made from one image by one model (UUID-derived, PS3.5 B.2).

    Args:
        source: SOPInstanceUID of the image.
        model: Name and hash of the model file.
        kind: What is made, such as ``report`` or ``report series``.
    """
    return _uid("result", source, model, __version__, kind)


def model_uid(model: str) -> str:
    """Return the UID of a model as an observing device (PS3.16 TID 1004)."""
    return _uid("model", model, __version__)


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"
