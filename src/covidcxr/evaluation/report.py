"""Reports of the protocols: report.json and, for people, report.html with plots."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidcxr._files import write_json
from covidcxr._templates import render_page
from covidcxr.evaluation.plots import plots
from covidcxr.evaluation.scoring import Scores, write_scores
from covidcxr.labels import Protocol

EvaluationReport = dict[str, Any]
"""Report of a protocol, ready for JSON. All have ``protocol``, ``title``, ``says``, ``model`` and ``metrics``."""

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


def write_report(report: EvaluationReport, out: Path, scores: Scores | None = None) -> None:
    """Write report.json and report.html into a folder, with scores also scores.csv and the plots as PNG files."""
    out.mkdir(parents=True, exist_ok=True)
    figures = plots(scores) if scores else {}
    if scores:
        write_scores(scores, out / "scores.csv")
    for name, png in figures.items():
        (out / f"{name}.png").write_bytes(png)
    write_json(out / "report.json", report)
    (out / "report.html").write_text(render(report, figures), "utf-8")


def render(report: EvaluationReport, figures: Mapping[str, bytes]) -> str:
    """Render a report as one HTML page that needs no other file.

    Args:
        report: The report.
        figures: Plots as PNG files by name.
    """
    parts = defaultdict(lambda: None, report)  # the template asks for parts that only some protocols have
    return render_page("covidcxr.evaluation", "evaluation.html", figures, report=parts)
