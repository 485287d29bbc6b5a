"""Jinja templates in the folder ``templates`` of a package."""

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from covidcxr import DISCLAIMER
from covidcxr._estimates import Estimate


def environment(package: str, *, html: bool = True) -> Environment:
    """Return an environment for the templates of a package.

    Beside Jinja's own filters it has ``estimate``, see ``estimate_text``.

    Args:
        package: Import name, such as ``covidcxr.audit``.
        html: Whether to escape values for HTML.

    Returns:
        An environment in which an undefined name is an error.
    """
    templates = Environment(
        loader=PackageLoader(package),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["estimate"] = estimate_text
    return templates


def estimate_text(found: Any, spec: str = "") -> str:  # noqa: ANN401
    """Write a figure and its interval; see covidcxr._estimates.Estimate.

    Args:
        found: Estimate, or a JSON object or any object with ``value``, ``low`` and ``high``.
        spec: Format of one number, such as ``.1%``; empty means ``.3f``.
    """
    return format(Estimate.of(found), spec)


def render_page(package: str, template: str, pictures: Mapping[str, bytes], **values: Any) -> str:  # noqa: ANN401
    """Render a template as one HTML page that needs no other file.

    Args:
        package: Import name, such as ``covidcxr.audit``.
        template: File name in its folder ``templates``.
        pictures: PNG files by name; the template receives them as data URLs, ``images``.
        values: Further variables of the template, besides ``images`` and ``disclaimer``.
    """
    images = {name: "data:image/png;base64," + base64.b64encode(png).decode() for name, png in pictures.items()}
    return environment(package).get_template(template).render(images=images, disclaimer=DISCLAIMER, **values)
