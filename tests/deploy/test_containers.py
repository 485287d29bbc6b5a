"""The images of the Dockerfile and of the Space: built and run for real, as strictly as an engine can run them.

All in one file, so that one process of pytest builds each image once.
"""

import shutil
import subprocess
import sys
import time

import pytest
import yaml

from covidcxr import DISCLAIMER
from covidcxr.cli.serve import command as serve
from support import containers, dockerfile
from support.deployment import copy_package, request, score, wait_until_ready
from support.environment import DEPLOY, ROOT

pytestmark = pytest.mark.slow
PORT = next(option.default for option in serve.params if option.name == "port")
URL = f"http://127.0.0.1:{PORT}"
SPACE = DEPLOY / "huggingface"
STATUS = "import os, pathlib; print(os.getuid(), pathlib.Path('/proc/self/status').read_text())"
READY_S = 15
"""From the start of the container; takes 1.8 s on two idle cores."""
SIZE = 500e6
"""Bytes; 427 MB, of which the stand-in of the base image takes 154."""
LEFT = """
import importlib.util, pathlib
names = "tensorflow", "keras", "pandas", "scipy", "pip", "setuptools"
print([name for name in names if importlib.util.find_spec(name)], pathlib.Path("/etc/pip.conf").exists())
"""
LISTING = """container=$(buildah from --pull-never "$1")
cd "$(buildah mount "$container")" && find . -type f
cd / && buildah rm "$container" >/dev/null
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Build the image of the Dockerfile; returns its name."""
    containers.tools()
    containers.base_image(ROOT / "Dockerfile")
    containers.build(ROOT / "Dockerfile", "covidcxr:test", ROOT, tmp_path_factory.mktemp("build"))
    return "covidcxr:test"


def test_a_nobody_without_rights_and_network_scores_a_picture_on_a_read_only_root(image, tmp_path):
    log, name = tmp_path / "log", "covidcxr-test"
    begin = time.monotonic()
    with containers.running(image, name, log) as (process, inside):
        assert wait_until_ready(URL, process, inside=inside)["status"] == "ready"
        assert time.monotonic() - begin < READY_S
        score(URL, inside=inside)
        user, status = containers.call("podman", "exec", name, "python", "-c", STATUS).split(maxsplit=1)
        assert user == "10001"
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
        assert facts["NoNewPrivs"] == "1"
        assert "Read-only file system" in containers.call(
            "podman", "exec", name, "sh", "-c", "touch /opt/x 2>&1 || true"
        )
        containers.call("podman", "exec", name, *health_command(image))
        containers.call("podman", "kill", f"--signal={containers.inspect(image)['Config']['StopSignal']}", name)
        assert process.wait(timeout=40) == 0, log.read_text()
    text = log.read_text()
    assert DISCLAIMER in text
    assert "telemetry" not in text  # what ONNX Runtime says when it may report
    assert "Traceback" not in text


def health_command(image):
    """Return the words of HEALTHCHECK."""
    kind, *words = containers.inspect(image)["Healthcheck"]["Test"]
    assert kind == "CMD"
    return words


def test_a_server_that_does_not_answer_is_not_healthy(image, tmp_path):
    with containers.running(image, "covidcxr-idle", tmp_path / "log", "60", options=["--entrypoint=sleep"]):
        with pytest.raises(AssertionError, match="Connection refused"):
            containers.call("podman", "exec", "covidcxr-idle", *health_command(image))
        containers.call("podman", "kill", "covidcxr-idle")


def test_the_image_says_what_it_is_and_holds_nothing_else(image):
    about = containers.inspect(image)
    config = about["Config"]
    assert config["User"] == "10001:10001"
    assert list(config["ExposedPorts"]) == [f"{PORT}/tcp"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert DISCLAIMER in config["Labels"]["org.opencontainers.image.description"]
    assert not [variable for variable in config["Env"] if variable.startswith(("PIP_", "SSL_", "http"))]
    said = containers.call("podman", "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", LEFT)
    assert said.strip() == "[] False"
    assert about["Size"] < SIZE


def test_only_the_package_enters_the_build(tmp_path):
    containers.tools()
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    containers.build(everything, "covidcxr:context", ROOT, tmp_path)
    files = containers.call("sh", "-c", LISTING, "sh", "covidcxr:context").split()
    names = ["LICENSE", "NOTICE", "README.md", "constraints.txt", "pyproject.toml", "src"]
    assert sorted({file.split("/")[1] for file in files}) == names
    assert "./src/covidcxr/assets/covidcxr.onnx" in files
    assert not [file for file in files if "__pycache__" in file or "egg-info" in file]


def test_the_pod_of_kubernetes_runs_as_written(image, tmp_path):
    """Its command and its token, in a container with the rights of the restricted profile."""
    manifest = yaml.safe_load((DEPLOY / "kubernetes" / "deployment.yaml").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    url, token, log = f"http://127.0.0.1:{dockerfile.port()}", "a-token-for-tests-alone", tmp_path / "log"
    options = [f"--env={container['env'][0]['name']}={token}"]
    with containers.running(image, "covidcxr-pod", log, *container["args"], options=options) as (process, inside):
        for kind in ("startup", "readiness", "liveness"):
            wait_until_ready(url, process, path=container[f"{kind}Probe"]["httpGet"]["path"], inside=inside)
        with pytest.raises(ConnectionError, match="401"):
            score(url, inside=inside)
        score(url, token=token, inside=inside)
        begin = time.monotonic()
        process.terminate()
        while "503" not in asked(url, inside):
            assert process.poll() is None
        assert process.wait(timeout=40) == 0
        assert time.monotonic() - begin > serve.make_context("serve", container["args"][1:]).params["drain"]
    assert token not in log.read_text()


def asked(url, inside):
    """Return what goes wrong when the server is asked whether it is ready, nothing if it is."""
    try:
        request(url + "/readyz", inside=inside)
    except ConnectionError as error:
        return str(error)
    return ""


def test_the_space_scores_a_picture_as_the_user_that_spaces_run_as(tmp_path):
    containers.tools()
    containers.base_image(SPACE / "Dockerfile")
    project, space, log = tmp_path / "project", tmp_path / "space", tmp_path / "log"
    project.mkdir()
    copy_package(project)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", space, "."]
    subprocess.run(wheel, check=True, cwd=project)
    for file in (SPACE / "README.md", SPACE / "Dockerfile", ROOT / "constraints.txt"):
        shutil.copy(file, space)
    containers.build(space / "Dockerfile", "covidcxr-space:test", space, tmp_path)
    assert containers.inspect("covidcxr-space:test")["Config"]["User"] == "1000:1000"
    url = f"http://127.0.0.1:{dockerfile.port(SPACE / 'Dockerfile')}"
    with containers.running("covidcxr-space:test", "covidcxr-space", log) as (process, inside):
        wait_until_ready(url, process, inside=inside)
        score(url, inside=inside)
    assert process.returncode == 0, log.read_text()
