"""The Compose file: valid, closed, and of one mind with the Dockerfile."""

import compose_spec
import pytest
import yaml

from covidcxr import __version__
from support import dockerfile
from support.environment import ROOT

TEXT = (ROOT / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def web():
    return yaml.safe_load(TEXT)["services"]["web"]


def test_it_follows_the_specification():
    compose_spec.PyCompose.from_yaml(TEXT).validate()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("read_only: true", "read_only: perhaps"),
        ("cap_drop:", "cap_dorp:"),
        ("interval: 30s", "interval: soon"),
        ("shm_size: 16m", "shm_size: much"),
    ],
)
def test_the_validator_sees_mistakes(old, new):
    assert old in TEXT
    with pytest.raises(ValueError, match=r"\w"):
        compose_spec.PyCompose.from_yaml(TEXT.replace(old, new))


def test_the_container_may_do_nothing_but_serve(web):
    assert web["read_only"] is True
    assert web["cap_drop"] == ["ALL"]
    assert web["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "volumes", "network_mode", "pid", "ipc", "user", "devices"} & set(web)
    assert set(web["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


def test_only_this_machine_reaches_it(web):
    assert web["ports"] == [f"127.0.0.1:{dockerfile.port()}:{dockerfile.port()}"]


def test_it_agrees_with_the_dockerfile(web):
    assert web["image"] == f"covidcxr:{__version__}"
    command = dockerfile.words("CMD")
    assert web["command"][: len(command)] == command
    check = dockerfile.healthcheck()
    assert web["healthcheck"] == {
        "test": ["CMD", *check.words],
        "retries": int(check.options.pop("retries")),
        **{name.replace("-", "_"): value for name, value in check.options.items()},
    }
