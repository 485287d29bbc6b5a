"""Plots of a set of scores."""

import io
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, auc, average_precision_score, precision_recall_curve, roc_curve

from covidcxr.evaluation.metrics import CALIBRATION_BINS
from covidcxr.evaluation.scoring import Scores
from covidcxr.evaluation.uncertainty import surest_first

COLOURS = {"normal": "#0072b2", "pneumonia": "#e69f00", "covid": "#d55e00"}
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008)."""


def plots(scores: Scores) -> dict[str, bytes]:
    """Draw confusion matrix, ROC, precision-recall, calibration and selective curves.

    Returns:
        Content of PNG files by name: confusion, roc, precision_recall, calibration, selective.
    """
    return {
        "confusion": _draw(_confusion, scores),
        "roc": _draw(_roc, scores),
        "precision_recall": _draw(_precision_recall, scores),
        "calibration": _draw(_calibration, scores),
        "selective": _draw(_selective, scores),
    }


def _draw(plot: Callable[[Axes, Scores], None], scores: Scores) -> bytes:
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    plot(figure.subplots(), scores)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _confusion(axes: Axes, scores: Scores) -> None:
    names = list(map(str, scores.labels))
    predicted = scores.y_score.argmax(axis=1)
    ConfusionMatrixDisplay.from_predictions(
        scores.y_true, predicted, labels=range(len(names)), display_labels=names, cmap="Blues", colorbar=False, ax=axes
    )
    axes.set_title(f"Confusion matrix, {len(predicted)} images")


def _roc(axes: Axes, scores: Scores) -> None:
    for index, label in _curves(scores):
        fall_out, recall, _ = roc_curve(scores.y_true == index, scores.y_score[:, index])
        axes.plot(fall_out, recall, color=COLOURS[label], label=f"{label}, AUROC {auc(fall_out, recall):.3f}")
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set(title="ROC, each class against the others", xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right")


def _precision_recall(axes: Axes, scores: Scores) -> None:
    for index, label in _curves(scores):
        truth, score = scores.y_true == index, scores.y_score[:, index]
        precision, recall, _ = precision_recall_curve(truth, score)
        area = average_precision_score(truth, score)
        axes.step(recall, precision, color=COLOURS[label], label=f"{label}, AP {area:.3f}", where="post")
    axes.set(title="Precision and recall", xlabel="recall (sensitivity)", ylabel="precision (PPV)", ylim=(0, 1.02))
    axes.legend(loc="lower left")


def _calibration(axes: Axes, scores: Scores) -> None:
    """Draw the share of true cases against the predicted probability, in bins of equal width."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    for index, label in _curves(scores):
        probability, truth = scores.y_score[:, index], scores.y_true == index
        bins = np.clip(np.digitize(probability, edges) - 1, 0, CALIBRATION_BINS - 1)
        used = [number for number in range(CALIBRATION_BINS) if (bins == number).any()]
        x = [probability[bins == number].mean() for number in used]
        y = [truth[bins == number].mean() for number in used]
        sizes = [12 + 3 * np.sqrt((bins == number).sum()) for number in used]
        axes.plot(x, y, color=COLOURS[label], label=label)
        axes.scatter(x, y, s=sizes, color=COLOURS[label])
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set(
        title="Calibration (larger dot: more images)", xlabel="predicted probability", ylabel="share of true cases"
    )
    axes.legend()


def _selective(axes: Axes, scores: Scores) -> None:
    """Draw the accuracy against the share of the images that are answered, the surest first."""
    order = surest_first(scores.y_score)
    right = (scores.y_score.argmax(axis=1) == scores.y_true)[order]
    answered = np.arange(1, len(right) + 1)
    axes.plot(answered / len(right), right.cumsum() / answered, color=COLOURS["normal"])
    axes.set(
        title="Accuracy when only the surest images are answered",
        xlabel="share of the images answered",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )


def _curves(scores: Scores) -> list[tuple[int, str]]:
    """Return the classes to draw; of two classes, COVID-19 is enough."""
    classes = [(index, str(label)) for index, label in enumerate(scores.labels)]
    return classes[1:] if len(classes) == 2 else classes
