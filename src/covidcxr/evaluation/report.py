"""Reports for people: the plots of a set of scores, and one self-contained HTML page."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, auc, average_precision_score, precision_recall_curve, roc_curve

from covidcxr._templates import render_page
from covidcxr.evaluation.metrics import CALIBRATION_BINS
from covidcxr.evaluation.scoring import Scores
from covidcxr.evaluation.uncertainty import surest_first
from covidcxr.labels import Protocol

TITLES = {
    Protocol.CLASSIC: "Classic: the published recipe on its own test split",
    Protocol.CONTROLS: "Controls: the same split without looking at a lung",
    Protocol.UNSEEN_HOSPITALS: "Unseen hospitals: two origins left out of training",
    Protocol.EXTERNAL: "External: one hospital that took no part in anything",
    Protocol.HELD_OUT: "Held-out: other patients of the training collections",
}
SAYS = {
    Protocol.CLASSIC: "COVID-19 images of adults from one collection against healthy children from another, the "
    "comparison published many times with about 96 % accuracy. The figure can be reproduced and says nothing about "
    "COVID-19: see the controls.",
    Protocol.CONTROLS: "If an 8x8 thumbnail or the name of the collection separates the classes as well as the network "
    "does, the accuracy of the classic recipe measures the collections, not the disease.",
    Protocol.UNSEEN_HOSPITALS: "For every pair, COVID-19 images of one origin against normal images of another, scored "
    "by a model trained without either origin, its patients and its near-duplicates. Expect this in a hospital that "
    "the model has never seen.",
    Protocol.EXTERNAL: "COVID-19 against normal in one hospital that was used neither for training nor for any choice. "
    "There are few images: read the interval. Most COVID-19 images are AP and most normal ones PA, so a model that "
    "recognises the view scores here too: read the rows by view.",
    Protocol.HELD_OUT: "The same collections as in training, other patients. It says nothing about a new hospital. The "
    "controls show how much the collections alone give away.",
}
"""What to know before reading the figures of a protocol."""

COLOURS = {"normal": "#0072b2", "pneumonia": "#e69f00", "covid": "#d55e00"}
"""Distinct for colour-blind readers (Okabe and Ito 2008)."""


def plots(scores: Scores) -> dict[str, bytes]:
    """Draw confusion matrix, ROC, precision-recall, calibration and selective curves.

    Returns:
        PNG files by name: confusion, roc, precision_recall, calibration, selective.
    """
    return {
        "confusion": _draw(_confusion, scores),
        "roc": _draw(_roc, scores),
        "precision_recall": _draw(_precision_recall, scores),
        "calibration": _draw(_calibration, scores),
        "selective": _draw(_selective, scores),
    }


def render(report: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """Render a report with its plots as one HTML page that needs no other file.

    Args:
        report: As covidcxr.evaluation.protocols.evaluate returns it.
        figures: PNG files by name.
    """
    return render_page("covidcxr.evaluation", "evaluation.html", figures, report=report)


def _draw(plot: Any, scores: Scores) -> bytes:  # noqa: ANN401 - a function of (axes, scores)
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
    """Share of true cases against the predicted probability, in bins of equal width, with the number in each."""
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
    """Accuracy against the share of the images that are answered, the surest first."""
    order = surest_first(scores.y_score)
    right = (scores.y_score.argmax(axis=1) == scores.y_true)[order]
    answered = np.arange(1, len(right) + 1)
    axes.plot(answered / len(right), right.cumsum() / answered, color=COLOURS["normal"])
    axes.set(
        title="Accuracy where only the surest are answered",
        xlabel="share of the images answered",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )


def _curves(scores: Scores) -> list[tuple[int, str]]:
    """Classes to draw: with two of them one curve, COVID-19, says it all."""
    classes = [(index, str(label)) for index, label in enumerate(scores.labels)]
    return classes[1:] if len(classes) == 2 else classes
