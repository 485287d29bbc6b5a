"""Controls that separate the classes without a lung: a thumbnail of 8x8 pixels, and the name of the collection."""

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
from covidcxr.data.splits import grouped_split
from covidcxr.evaluation.scoring import Scores, class_indices
from covidcxr.images.decode import read_image
from covidcxr.labels import Label
from covidcxr.recipes.selection import Parts

THUMBNAIL_SIDE = 8
SPLITS = 20
"""Random splits of thumbnail_splits."""


def thumbnails(records: Sequence[Record]) -> NDArray[np.float64]:
    """Shrink whole images to 8x8 pixels: float64, shape (n, 64), 0..1."""
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


def thumbnail_scores(parts: Parts, scores: Scores) -> Scores:
    """Return the scores of a thumbnail classifier, fitted to training and validation records, for the same records."""
    train = parts.train + parts.validation
    classifier = thumbnail_classifier(thumbnails(train), class_indices(train, scores.labels))
    return scores.with_scores(classifier.predict_proba(thumbnails(scores.records)))


def thumbnail_splits(parts: Parts, labels: Sequence[Label]) -> NDArray[np.float64]:
    """Return the accuracy of the thumbnail classifier on random 80/20 splits by patient: float64, shape (SPLITS,)."""
    records = parts.train + parts.validation + parts.test
    place = {record.id: index for index, record in enumerate(records)}
    features, y_true = thumbnails(records), class_indices(records, labels)
    accuracies = []
    for seed in range(SPLITS):
        train, test = ([place[record.id] for record in part] for part in grouped_split(records, seed=seed))
        classifier = thumbnail_classifier(features[train], y_true[train])
        accuracies.append(float(classifier.score(features[test], y_true[test])))
    return np.array(accuracies)


def oracle_scores(parts: Parts, scores: Scores) -> Scores:
    """Return the scores of source_oracle, fitted to training and validation records, for the same records."""
    return scores.with_scores(source_oracle(parts.train + parts.validation, scores.records, scores.labels))


def source_oracle(train: Sequence[Record], test: Sequence[Record], labels: Sequence[Label]) -> NDArray[np.float64]:
    """Predict the class from the collection's name alone: the share of each class in its training images.

    Returns:
        float64, shape (n, classes): probabilities for the test records. A collection without training images gets the
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
