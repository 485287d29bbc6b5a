"""Uploaded bytes to predictions, for all interfaces: so many at a time, each of them counted.

The threads that score are always the same few: what decoding and the network use for one image is then still in the
cache, and in the C library's heap of that thread, for the next one, whichever request it comes from.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from covidcxr.errors import ImageError
from covidcxr.images import Grey, decode_image
from covidcxr.web.metrics import Metrics

if TYPE_CHECKING:
    from covidcxr.predictor import Prediction, Predictor


class Scorer:
    """A predictor that works on a few images at a time, whoever asks."""

    def __init__(self, predictor: "Predictor", *, parallel: int, metrics: Metrics) -> None:
        self.predictor = predictor
        self._threads = ThreadPoolExecutor(parallel, "scorer")
        self._metrics = metrics

    def score_file(self, data: bytes, name: str) -> "tuple[Grey, Prediction]":
        """Decode and score the bytes of an image file.

        Raises:
            ImageError: They are not a single image; the message calls it ``name``.
        """
        return self._threads.submit(self._score_file, data, name).result()

    def score(self, grey: Grey) -> "Prediction":
        """Score a decoded image: uint8, shape (height, width), as covidcxr.images makes it."""
        return self._threads.submit(self._predict, grey).result()

    def _score_file(self, data: bytes, name: str) -> "tuple[Grey, Prediction]":
        try:
            grey = decode_image(data, name)
        except ImageError:
            self._metrics.refused()
            raise
        return grey, self._predict(grey)

    def _predict(self, grey: Grey) -> "Prediction":
        prediction = self.predictor.predict(grey)
        self._metrics.predicted(prediction)
        return prediction
