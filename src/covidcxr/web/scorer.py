"""Decode and score uploads, a few at a time."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from covidcxr.errors import ImageError
from covidcxr.images.decode import decode_image
from covidcxr.images.grey import Grey
from covidcxr.web.http.metrics import Metrics

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Prediction, Predictor


class UploadScorer:
    """A predictor that scores a few images at a time and counts the results.

    The same few threads score all images, so what decoding and the network need for the next image is already in the
    cache and in the heap of its thread, whichever request it comes from.

    Args:
        predictor: Loaded model.
        metrics: Counts predictions and files that are no image.
        parallel: Images decoded and scored at the same time; others wait. Decoding takes many times the size of the
            file in memory, so this, not the number of requests, sets the peak.

    Raises:
        ValueError: ``parallel`` is below 1.
    """

    def __init__(self, predictor: "Predictor", metrics: Metrics, *, parallel: int) -> None:
        if parallel < 1:
            raise ValueError(f"Expected at least 1 image at a time. Received {parallel}.")
        self.predictor = predictor
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(parallel, "scorer")

    def score(self, image: bytes | Grey, name: str) -> "tuple[Grey, Prediction]":
        """Decode an image file if it is not decoded yet, and score it.

        Args:
            image: Content of a file, or uint8, shape (height, width), from covidcxr.images.
            name: Name of the image for messages.

        Raises:
            ImageError: The bytes are not a single image.
        """
        return self._threads.submit(self._score, image, name).result()

    def _score(self, image: bytes | Grey, name: str) -> "tuple[Grey, Prediction]":
        try:
            grey = decode_image(image, name) if isinstance(image, bytes) else image
        except ImageError:
            self._metrics.refused()
            raise
        prediction = self.predictor.predict(grey)
        self._metrics.predicted(prediction)
        return grey, prediction
