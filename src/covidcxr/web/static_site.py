"""Export of the page for any web host: the model runs in the visitor's browser, and no image leaves it."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, render_template, url_for

from covidcxr.errors import CovidCxrError
from covidcxr.images.decode import MAX_BYTES
from covidcxr.prediction.flags import TEXTS
from covidcxr.prediction.gate import BLACK, EXTREME, SMALLEST_SIDE, WHITE
from covidcxr.prediction.predictor import LUNG, Predictor
from covidcxr.web.app import SECURITY_HEADERS, create_app
from covidcxr.web.pages.pages import model_context, page_context
from covidcxr.web.pages.samples import draw

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of the npm package onnxruntime-web that the page needs."""
PAGES = {"/": "index.html", "/model": "model.html"}
"""Addresses of the server's pages, and the exported files, which have the names of their templates."""
MODEL, CONTRACT, DRAWING = "model.onnx", "model.json", "drawing.png"
LIMIT = {"max_upload_mb": MAX_BYTES // 2**20}
POLICY = SECURITY_HEADERS["Content-Security-Policy"].partition("; frame-ancestors")[0]  # a page cannot set it
STATIC_SITE = {
    "model": MODEL,
    "contract": CONTRACT,
    "drawing": DRAWING,
    "policy": f"{POLICY}; script-src 'self' 'wasm-unsafe-eval'",
}
"""Values for the templates."""


def export_static(model: Path | None, out: Path, runtime: Path | None) -> str:
    """Write the page, the model and ONNX Runtime's build for browsers into a folder.

    Args:
        model: Model file; None for the shipped one.
        out: Folder, created if necessary; existing files are replaced.
        runtime: Folder ``dist`` of the npm package onnxruntime-web; None downloads the pinned version with npm.

    Returns:
        Name and hash of the model.

    Raises:
        CovidCxrError: npm is missing or fails, or the folder lacks a file.
        ArtifactError: Not a model file.
    """
    predictor = Predictor.load(model)
    static = out / "static"
    static.mkdir(parents=True, exist_ok=True)
    for folder in ("static", "browser"):  # in this order: modules for the browser replace those for a server
        _copy(files("covidcxr.web") / folder, static)
    with tempfile.TemporaryDirectory() as place:
        _copy_runtime(runtime or _fetch_runtime(Path(place)), static)
    (out / CONTRACT).write_text(json.dumps(contract(predictor)), "utf-8")
    (out / DRAWING).write_bytes(draw())
    shutil.copyfile(model or str(files("covidcxr") / "assets" / "covidcxr.onnx"), out / MODEL)
    app = create_app(predictor)
    (out / PAGES["/"]).write_text(_render(app, "/", page_context(predictor) | LIMIT), "utf-8")
    (out / PAGES["/model"]).write_text(_render(app, "/model", model_context()), "utf-8")
    return predictor.model


def contract(predictor: Predictor) -> dict[str, Any]:
    """Return the properties of the model that browser/decide.js needs, as JSON."""
    artifact = predictor.artifact
    return {
        "model": predictor.model,
        "labels": artifact.labels,
        "preprocessing": asdict(artifact.preprocessing),
        "box": artifact.preprocessing.box,
        "operating_points": [{"name": point.name, "threshold": point.threshold} for point in artifact.operating_points],
        "conformal": asdict(artifact.conformal) if artifact.conformal else None,
        "gate": [asdict(check) for check in artifact.gate],
        "flags": TEXTS,
        "pixels": {"smallest_side": SMALLEST_SIDE, "extreme": EXTREME, "black": BLACK, "white": WHITE},
        "lung": LUNG,
        "audit": artifact.audit.to_dict() if artifact.audit else None,
    }


def _copy(folder: "Traversable", out: Path) -> None:
    for file in folder.iterdir():
        if file.name.endswith((".js", ".css", ".svg")):
            (out / file.name).write_bytes(file.read_bytes())


def _copy_runtime(folder: Path, out: Path) -> None:
    for name in RUNTIME:
        if not (folder / name).is_file():
            raise CovidCxrError(f"Expected {name} of onnxruntime-web in {folder}. Received a folder without it.")
        shutil.copyfile(folder / name, out / name)


def _fetch_runtime(place: Path) -> Path:
    """Download the version in the lock file, whose hashes npm checks."""
    for name in ("package.json", "package-lock.json"):
        (place / name).write_bytes((files("covidcxr.web") / "browser" / name).read_bytes())
    try:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=place, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CovidCxrError(
            "npm is not installed. It downloads onnxruntime-web; --runtime takes a copy of its folder dist instead."
        ) from error
    except subprocess.CalledProcessError as error:
        raise CovidCxrError(f"npm failed to download onnxruntime-web: {error.stderr.strip()}") from error
    return place / "node_modules" / "onnxruntime-web" / "dist"


def _render(app: Flask, address: str, context: dict[str, Any]) -> str:
    """Render a page with relative addresses, for any folder of any host."""
    with app.test_request_context(address):
        return render_template(PAGES[address], **context, url_for=_relative, static_site=STATIC_SITE)


def _relative(endpoint: str, **values: Any) -> str:  # noqa: ANN401 - as Flask's own
    address = url_for(endpoint, **values)
    return PAGES.get(address, address.removeprefix("/"))
