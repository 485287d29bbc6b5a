"""The pages that people see in a browser: images, the model, and examples."""

import json
import os
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from covidcxr import DISCLAIMER, __version__
from covidcxr.labels import Protocol
from covidcxr.prediction.colours import COLOURS, FAINT, FULL
from covidcxr.prediction.fields import columns
from covidcxr.web.api.reports import has_dicom
from covidcxr.web.pages.samples import BASE, DRAWN, Gallery, draw
from covidcxr.web.pages.wording import CLASS_NAMES, INTERVAL, VERDICTS

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Predictor

AGAINST = {"below": (0, 114, 178), "above": (213, 94, 0)}
"""Red, green, blue of evidence for another pneumonia, and for COVID-19 (Okabe and Ito 2008)."""
SAMPLES_URL = "COVIDCXR_SAMPLES_URL"
"""Environment variable, and key of the application's configuration: address of the folder with the examples, such as
that of a mirror; empty for a server that downloads nothing and offers only the drawing."""
KEPT = "public, max-age=86400"
"""Cache-Control of the examples, which are the same for everybody."""
LATER = {"Retry-After": "1"}
"""Headers of answers about examples that are being downloaded; the page then asks again."""


def create_pages(predictor: "Predictor", *, max_upload_mb: int) -> Blueprint:
    """Create the blueprint of the pages; see covidcxr.web.app.create_app for the arguments.

    ============================  ==========================================================================
    ``GET /``                     page for images
    ``GET /model``                facts about the model, and the meaning of each number on the page
    ``GET /samples``              ``samples``: available examples; ``reachable``: whether the collection is;
                                  503 while they are being downloaded
    ``GET /samples/NAME``         an example, PNG or JPEG; 404 unknown or unavailable, 503 being downloaded
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
            "model": predictor.model,
            "artifact": predictor.artifact,
            "class_names": CLASS_NAMES,
            "verdicts": VERDICTS,
            "interval_note": INTERVAL,
        }

    @pages.get("/")
    def page() -> str:
        return render_template("index.html", max_upload_mb=max_upload_mb, **page_context(predictor))

    @pages.get("/model")
    def model() -> str:
        return render_template("model.html", **model_context())

    @pages.get("/samples")
    def samples() -> ResponseReturnValue:
        found = gallery()
        if found and found.fetch():
            return {"detail": "The examples are being downloaded."}, 503, LATER
        published = _samples(found) if found else []
        return {"samples": [*published, _drawing()], "reachable": bool(published)}

    @pages.get("/samples/<name>")
    def sample(name: str) -> ResponseReturnValue:
        if name == DRAWN:
            return draw(), {"Content-Type": "image/png", "Cache-Control": KEPT}
        found = gallery()
        if found is None or name not in found.samples:
            abort(404)
        downloading = found.fetch()
        if (example := found.get(name)) is None:
            return {"detail": "The example is not available."}, *((503, LATER) if downloading else (404,))
        data, media_type = example
        return data, {"Content-Type": media_type, "Cache-Control": KEPT}

    return pages


def page_context(predictor: "Predictor") -> dict[str, Any]:
    """Return what index.html passes to its scripts."""
    artifact = predictor.artifact
    return {
        "has_dicom": has_dicom(),
        "map_style": {"colours": COLOURS, "faint": FAINT, "full": FULL, "against": AGAINST},
        "columns": [(column.name, column.path) for column in columns(artifact)],
        "scripts": sorted(
            path.name for path in (files("covidcxr.web") / "static").iterdir() if path.name.endswith(".js")
        ),
    }


def model_context() -> dict[str, Any]:
    """Return what model.html shows in addition to the model file."""
    from covidcxr.data.sources import SOURCES  # here: predictions need no collection

    return {"reports": reports(), "sources": SOURCES.values()}


@cache
def reports() -> dict[Protocol, dict[str, Any]]:
    """Return the shipped report of every protocol that has one; see docs/evaluation.md."""
    folder = files("covidcxr") / "assets" / "results"
    paths = {protocol: folder / f"{protocol}.json" for protocol in Protocol}
    return {protocol: json.loads(path.read_text("utf-8")) for protocol, path in paths.items() if path.is_file()}


def _samples(gallery: Gallery) -> list[dict[str, str]]:
    """Return the examples that were downloaded, as the page shows them."""
    return [
        {
            "file": sample.file,
            "title": sample.title,
            "licence": sample.licence,
            "credit": sample.credit,
            "page": sample.page,
            "picture": url_for("pages.sample", name=sample.name),
        }
        for sample in gallery.samples.values()
        if gallery.get(sample.name)
    ]


def _drawing() -> dict[str, str]:
    return {
        "file": "drawing.png",
        "title": "A drawing",
        "licence": "Apache-2.0",
        "credit": "Drawn by covidcxr: no patient.",
        "page": "",
        "picture": url_for("pages.sample", name=DRAWN),
    }
