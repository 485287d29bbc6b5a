"""The page in the browser."""

from typing import TYPE_CHECKING

from flask import Blueprint, render_template

from covidcxr import DISCLAIMER, __version__
from covidcxr.labels import Label
from covidcxr.verdict import Verdict

if TYPE_CHECKING:
    from covidcxr.predictor import Predictor

CLASS_NAMES = {
    Label.NORMAL: "Normal",
    Label.PNEUMONIA: "Other pneumonia",
    Label.COVID: "COVID-19",
}
"""How the page calls the classes."""
VERDICTS = {Verdict.PASS: "passed", Verdict.WARN: "passed, with warnings", Verdict.FAIL: "not passed"}
"""How the page calls the outcome of an audit."""
AGAINST = {"below": (0, 114, 178), "above": (213, 94, 0)}
"""Red, green, blue of what speaks for another pneumonia, and for COVID-19 (Okabe and Ito 2008)."""


def create_pages(predictor: "Predictor", *, max_upload_mb: int) -> Blueprint:
    """Make the blueprint of the page; see covidcxr.web.app.create_app for the arguments."""
    from covidcxr.heatmaps import COLOURS, FAINT, FULL  # here: it imports ONNX Runtime, which `serve` loads in workers

    pages = Blueprint("pages", __name__)

    @pages.get("/")
    def page() -> str:
        return render_template(
            "index.html",
            disclaimer=DISCLAIMER,
            version=__version__,
            model=predictor.model,
            artifact=predictor.artifact,
            class_names=CLASS_NAMES,
            verdicts=VERDICTS,
            map_style={"colours": COLOURS, "faint": FAINT, "full": FULL, "against": AGAINST},
            max_upload_mb=max_upload_mb,
        )

    return pages
