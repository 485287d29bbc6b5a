"""The description of the interfaces: ``/api/v1/openapi.json``, and ``/api/v1/docs`` to browse it."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, json, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from covidcxr import DISCLAIMER

FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
"""What the page needs of Swagger UI, which comes with the package flask-swagger-ui."""


def create_docs() -> Blueprint:
    """Make the blueprint of the description. What it needs is imported at the first request."""
    docs = Blueprint("docs", __name__, url_prefix="/api/v1")

    @cache
    def content() -> bytes:
        from covidcxr.web.api.openapi import describe

        return json.dumps(describe(current_app._get_current_object())).encode()  # type: ignore[attr-defined]

    @docs.get("/openapi.json")
    def openapi() -> ResponseReturnValue:
        """Describe the interfaces."""
        return Response(content(), content_type="application/json")

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
