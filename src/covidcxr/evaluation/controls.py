"""Controls that must fail if a data set is fair: what needs no lung to tell the classes apart."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.images.decode import read_image
from covidcxr.labels import Label

THUMBNAIL_SIDE = 8


def thumbnails(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return what is left of each whole image at 8x8 pixels: float64, shape (n, 64), 0..1."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    rows = [
        np.asarray(Image.fromarray(read_image(record.path)).resize(side, Image.Resampling.BILINEAR)).ravel()
        for record in tqdm(records, desc="thumbnails", unit="image", disable=None)
    ]
    return np.array(rows, np.float64) / 255


def thumbnail_classifier(features: NDArray[np.float64], y_true: NDArray[np.int64]) -> Pipeline:
    """Fit a class-balanced logistic regression on standardised thumbnails.

    Args:
        features: float64, shape (n, 64).
        y_true: int64, shape (n,).
    """
    regression = LogisticRegression(max_iter=2000, class_weight="balanced")
    return make_pipeline(StandardScaler(), regression).fit(features, y_true)


def source_oracle(train: Sequence[Record], test: Sequence[Record], labels: Sequence[Label]) -> NDArray[np.float64]:
    """Predict the label from the collection's name alone: the share of each class in that collection's training part.

    Returns:
        float64, shape (n, classes): probabilities for the test records; a collection unseen in training gets the
        shares of all training records.
    """
    counts: dict[str, Counter[Label]] = defaultdict(Counter)
    for record in train:
        counts[record.source][record.label] += 1
    overall = sum(counts.values(), Counter())
    tables = [counts.get(record.source, overall) for record in test]
    shares = np.array([[table[label] for label in labels] for table in tables], np.float64)
    probabilities: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return probabilities
