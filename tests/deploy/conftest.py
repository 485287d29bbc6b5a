"""Fixtures that several tests of deployments share."""

import pytest

from support import containers
from support.environment import ROOT


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """Build the image of the Dockerfile; returns its name."""
    containers.tools()
    containers.base_image(ROOT / "Dockerfile")
    containers.build(ROOT / "Dockerfile", "covidcxr:test", ROOT, tmp_path_factory.mktemp("build"))
    return "covidcxr:test"
