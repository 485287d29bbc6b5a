"""Score many files: decode, predict, report, both what can be scored and what cannot."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from covidcxr.errors import ImageError
from covidcxr.images.decode import read_image
from covidcxr.prediction.fields import error_object

if TYPE_CHECKING:
    from covidcxr.images.grey import Grey
    from covidcxr.images.paths import ImagePath
    from covidcxr.prediction.predictor import Prediction, Predictor

AT_ONCE = 8
"""Decoded images in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A file with its decoded image, then with its prediction; or with the reason why there is none.

    Attributes:
        path: Path or name, as the user gave it.
        grey: uint8, shape (height, width); None with an error.
        prediction: None with an error, and until the image is scored.
        error: Why the file cannot be scored; None for an image.
        decode_ms: Milliseconds that decoding took.
        predict_ms: Milliseconds that the prediction took, as this image's part of the time for all at once.
    """

    path: str
    grey: "Grey | None" = None
    prediction: "Prediction | None" = None
    error: str | None = None
    decode_ms: float | None = None
    predict_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the prediction or of the error; see covidcxr.prediction.fields."""
        return self.prediction.to_dict(self.path) if self.prediction else error_object(self.path, str(self.error))


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


def score_files(predictor: "Predictor", files: "Iterable[ImagePath]", *, at_once: int = AT_ONCE) -> Iterator[Outcome]:
    """Decode and score files, in their order.

    Args:
        predictor: The loaded model.
        files: Each with a path, or with an error, which becomes its outcome.
        at_once: Decoded images in memory at a time.
    """
    return scored(predictor, decode_files(files), at_once=at_once)


def decode_files(files: "Iterable[ImagePath]") -> Iterator[Outcome]:
    """Decode files, one at a time, in their order; one with an error keeps it."""
    for file in files:
        yield decoded(Outcome(path=file.path, error=file.error), lambda path: read_image(Path(path)))


def decoded(outcome: AnyOutcome, decode: "Callable[[str], Grey]") -> AnyOutcome:
    """Return an outcome with its image, or with the error of decoding it.

    Args:
        outcome: Without an image; one with an error is returned as it is.
        decode: Returns the image, given the path; raises ImageError.
    """
    if outcome.error is not None:
        return outcome
    start = time.perf_counter()
    try:
        return replace(outcome, grey=decode(outcome.path), decode_ms=_ms_since(start))
    except ImageError as error:
        return replace(outcome, error=str(error))


def scored(predictor: "Predictor", outcomes: Iterable[AnyOutcome], *, at_once: int = AT_ONCE) -> Iterator[AnyOutcome]:
    """Score decoded images, in their order.

    Args:
        predictor: The loaded model.
        outcomes: With images or errors, see ``decoded``; consumed ``at_once`` at a time.
        at_once: Decoded images in memory at a time.
    """
    source = iter(outcomes)
    while some := list(islice(source, at_once)):
        start = time.perf_counter()
        greys = [outcome.grey for outcome in some if outcome.grey is not None]
        predictions = iter(predictor.predict_many(greys))
        share = _ms_since(start) / max(1, len(greys))
        for outcome in some:
            has_image = outcome.grey is not None
            yield replace(outcome, prediction=next(predictions), predict_ms=share) if has_image else outcome
        del some, greys, outcome  # free these images before the next ones are decoded


def _ms_since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)
