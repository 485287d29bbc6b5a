"""Score many files: decode, predict, and report every file, with its prediction or its error."""

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
    """A file with its decoded image and its prediction, or with an error.

    Attributes:
        path: Path or name, as the user gave it.
        grey: uint8, shape (height, width); None with an error.
        prediction: Prediction; None with an error, and before the image is scored.
        error: Why the file cannot be scored; None otherwise.
        decode_ms: Time of decoding in milliseconds.
        predict_ms: Time of prediction in milliseconds, divided by the number of images predicted together.
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
        predictor: Loaded model.
        files: Files to score; one with an error keeps it.
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
        outcome: Outcome without an image; returned unchanged if it has an error.
        decode: Function from path to image; may raise ImageError.
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
        predictor: Loaded model.
        outcomes: Outcomes of ``decoded``, consumed ``at_once`` at a time.
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
