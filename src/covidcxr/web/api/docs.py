"""The OpenAPI description of the APIs: ``/api/v1/openapi.json``, and ``/api/v1/docs`` to browse it."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, json, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from covidcxr import DISCLAIMER, __version__
from covidcxr.prediction import fields

FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
"""Files of the package flask-swagger-ui that the page needs."""


def create_docs() -> Blueprint:
    """Create the blueprint of the description. What it needs is imported at the first request."""
    docs = Blueprint("docs", __name__, url_prefix="/api/v1")

    @docs.get("/openapi.json")
    def openapi() -> ResponseReturnValue:
        """Describe the APIs."""
        return Response(json.dumps(describe()), content_type="application/json")

    @docs.get("/docs")
    def page() -> ResponseReturnValue:
        return render_template("docs.html", disclaimer=DISCLAIMER)

    @docs.get("/docs/<name>")
    def file(name: str) -> ResponseReturnValue:
        package = find_spec("flask_swagger_ui")
        if name not in FILES or package is None or package.origin is None:
            abort(404)
        return send_from_directory(Path(package.origin).parent / "dist", name)

    return docs


@cache
def describe() -> dict[str, Any]:
    """Return openapi.yaml with the version of the package, the classes, and the fields of a prediction."""
    import yaml

    description: dict[str, Any] = yaml.safe_load((files("covidcxr.web") / "openapi.yaml").read_text("utf-8"))
    info, schemas = description["info"], description["components"]["schemas"]
    info["version"], info["description"] = __version__, f"**{DISCLAIMER}**\n\n{info['description']}"
    extras = schemas["Prediction"]["properties"]
    schemas["Prediction"] = fields.prediction_schema()
    schemas["Prediction"]["properties"] |= extras
    schemas["FileError"] = fields.error_schema()
    schemas["Label"] = fields.LABEL
    return description
