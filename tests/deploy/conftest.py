"""Fixtures that several tests of deployments share."""

import pytest

from deploy import containers
from deploy.tools import PROJECT


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """Build the image of the Dockerfile; returns its name."""
    containers.tools()
    containers.base_image(PROJECT / "Dockerfile")
    containers.build(PROJECT / "Dockerfile", "covidcxr:test", PROJECT, tmp_path_factory.mktemp("build"))
    return "covidcxr:test"
