"""What a person sees in the browser: the page, the explanation of the model, and examples."""

import os
from pathlib import Path
from typing import Any

from flask import Blueprint, abort, current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from covidcxr import DISCLAIMER, __version__
from covidcxr.errors import DownloadError
from covidcxr.prediction.colours import COLOURS, FAINT, FULL
from covidcxr.web.api.reports import has_dicom
from covidcxr.web.engine import Engine
from covidcxr.web.pages.figures import reports
from covidcxr.web.pages.samples import BASE, DRAWN, Gallery
from covidcxr.web.pages.wording import CLASS_NAMES, INTERVAL, VERDICTS

AGAINST = {"below": (0, 114, 178), "above": (213, 94, 0)}
"""Red, green, blue of what speaks for another pneumonia, and for COVID-19 (Okabe and Ito 2008)."""
SAMPLES_URL = "COVIDCXR_SAMPLES_URL"
"""Variable of the environment, and key of the application's configuration: the folder on the web, or on a mirror, that
holds the examples; empty for a server that fetches nothing and has the drawing only."""
KEPT = "public, max-age=86400"
"""Cache-Control of the examples: they are the same for everybody."""


def create_pages(engine: Engine, *, max_upload_mb: int) -> Blueprint:
    """Make the blueprint of the pages; see covidcxr.web.app.create_app for the arguments.

    ============================  ==========================================================================
    ``GET /``                     the page
    ``GET /model``                what is known of the model, and what each number on the page means
    ``GET /samples``              ``samples``: the examples that can be had; ``reachable``: the collection is
    ``GET /samples/NAME``         an example, PNG or JPEG; 404 unknown, 502 not to be had
    ============================  ==========================================================================
    """
    pages = Blueprint("pages", __name__)
    pages.record_once(lambda state: state.app.config.setdefault(SAMPLES_URL, os.environ.get(SAMPLES_URL, BASE)))
    galleries: dict[str, Gallery] = {}

    def gallery() -> Gallery | None:
        base = current_app.config[SAMPLES_URL]
        return galleries.setdefault(base, Gallery(base)) if base else None

    @pages.context_processor
    def common() -> dict[str, Any]:
        return {
            "disclaimer": DISCLAIMER,
            "version": __version__,
            "model": engine.model,
            "artifact": engine.artifact,
            "class_names": CLASS_NAMES,
            "verdicts": VERDICTS,
            "interval_note": INTERVAL,
        }

    @pages.get("/")
    def page() -> str:
        return render_template("index.html", max_upload_mb=max_upload_mb, **page_context(engine))

    @pages.get("/model")
    def model() -> str:
        return render_template("model.html", **model_context())

    @pages.get("/samples")
    def samples() -> dict[str, Any]:
        found = gallery()
        reachable = found is not None and found.reachable()
        return {"samples": _samples(found if reachable else None), "reachable": reachable}

    @pages.get("/samples/<name>")
    def sample(name: str) -> ResponseReturnValue:
        if name == DRAWN:
            return engine.call("drawing"), {"Content-Type": "image/png", "Cache-Control": KEPT}
        found = gallery()
        if found is None or name not in found.samples:
            abort(404)
        try:
            data, media_type = found.fetch(name)
        except DownloadError as error:
            abort(502, str(error))
        return data, {"Content-Type": media_type, "Cache-Control": KEPT}

    return pages


def page_context(engine: Engine) -> dict[str, Any]:
    """Return what index.html says of the model to its scripts."""
    points = [point["name"] for point in engine.artifact["operating_points"]]
    return {
        "has_dicom": has_dicom(),
        "map_style": {"colours": COLOURS, "faint": FAINT, "full": FULL, "against": AGAINST},
        "columns": {"labels": engine.artifact["labels"], "points": points},
        "scripts": sorted(path.name for path in (Path(__file__).parents[1] / "static").glob("*.js")),
    }


def model_context() -> dict[str, Any]:
    """Return what model.html explains beside the model file."""
    from covidcxr.data.sources import SOURCES  # here: predictions need no collection

    return {"reports": reports(), "sources": SOURCES.values()}


def _samples(gallery: Gallery | None) -> list[dict[str, str]]:
    """Return the examples as the page shows them, the drawing last."""
    published = [
        {
            "file": sample.file,
            "title": sample.title,
            "licence": sample.licence,
            "credit": sample.credit,
            "page": sample.page,
            "picture": url_for("pages.sample", name=sample.name),
        }
        for sample in (gallery.samples.values() if gallery else ())
    ]
    drawing = {
        "file": "drawing.png",
        "title": "A drawing",
        "licence": "Apache-2.0",
        "credit": "Drawn by covidcxr: no patient.",
        "page": "",
        "picture": url_for("pages.sample", name=DRAWN),
    }
    return [*published, drawing]
