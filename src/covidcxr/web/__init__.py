"""The page and the JSON interface. Needs the extra ``web``."""

from covidcxr.web.app import create_app

__all__ = ["create_app"]
