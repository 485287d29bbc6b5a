"""Configuration of Sphinx: the site from docs/, the docstrings and the notebooks (``make site``)."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.highlighting import lexers

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from site_parts import commands, notebooks, without_folder_links  # noqa: E402 - lies beside this file

project = "covidcxr"
author = "the covidcxr authors"
project_copyright = "the covidcxr authors, Apache-2.0"
version = release = installed("covidcxr")

extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "results"]
lexers["mermaid"] = TextLexer()  # GitHub draws it, this site shows its text
suppress_warnings = ["config.cache"]

# Pages: headings get the same anchors as on GitHub, so that a link works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "html_image"]

# Notebooks: text and code only; COVIDCXR_DOCS_NOTEBOOKS=force adds their output, which needs the data.
NOTEBOOKS = DOCS.parent / "notebooks"
nb_execution_mode = os.environ.get("COVIDCXR_DOCS_NOTEBOOKS", "off")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars
notebooks(NOTEBOOKS, DOCS / "notebooks")
os.environ["PYTHONPATH"] = os.pathsep.join(  # kernels start beside the Jupyter files, away from common.py
    filter(None, [str(NOTEBOOKS), os.environ.get("PYTHONPATH")])
)

# Reference: the command line from its help, and one page per package from the docstrings.
commands(DOCS / "commands.md")
apidoc_modules = [
    {
        "path": "../src/covidcxr",
        "destination": "reference",
        "separate_modules": False,
        "module_first": True,
    },
]
autodoc_default_options = {"ignore-module-all": True}  # names are described where they are defined
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # the signature has the types
napoleon_use_ivar = True  # lists fields of dataclasses once, in the text of their class
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Theme: no font, script or image from another host, so that the site can be read offline.
html_theme = "furo"
html_title = "covidcxr"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"sidebar_hide_name": False}


def setup(app: Sphinx) -> None:
    """Connect the handlers of events."""
    app.connect("source-read", without_folder_links)
