"""Images built and run with the system's own tools where no engine runs and no registry of images is in reach.

buildah reads the Dockerfile as any engine does. Its base image is not to be had, so a bare Debian of the same release,
made by debootstrap, stands in for it: the same libc, the same minor version of Python, and nothing else. podman runs
the result. Both keep to a folder of their own below the temporary folder, with the base image for the next time.
"""

import json
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support import processes
from support.environment import program

STORE = Path(tempfile.gettempdir()) / f"covidcxr-containers-{os.getuid()}"
STORAGE = """[storage]
driver = "overlay"
graphroot = "{0}/images"
runroot = "{0}/run"
"""
ENGINE = """[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{0}/podman"
"""
"""No systemd and no right to raise limits: what a container in a container has."""
ALONE = """umount /sys/fs/cgroup/unified 2>/dev/null || true  # crun refuses the hybrid layout, and needs none of it
exec "$@"
"""
BASE = """set -eu
container=$(buildah from scratch)
root=$(buildah mount "$container")
debootstrap --variant=minbase --include=python3-venv "$1" "$root"
ln -s ../../bin/python3 "$root/usr/local/bin/python"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
buildah commit --rm --quiet "$container" "$2"
"""
PIP = ("index-url", "extra-index-url", "proxy", "timeout")
"""Settings of pip that a build takes from this machine, besides certificates."""


def tools():
    """Skip the test where a tool is missing."""
    for name in ("buildah", "podman", "crun", "debootstrap"):
        program(name)
    program("unshare", "util-linux")
    program("nsenter", "util-linux")


def command(*words):
    """Return the words and environment of a command that keeps to STORE, with mounts of its own."""
    STORE.mkdir(mode=0o700, exist_ok=True)
    files = {"CONTAINERS_STORAGE_CONF": ("storage.conf", STORAGE), "CONTAINERS_CONF": ("containers.conf", ENGINE)}
    for name, text in files.values():
        (STORE / name).write_text(text.format(STORE))
    places = {variable: str(STORE / name) for variable, (name, _) in files.items()}
    return ["unshare", "--mount", "sh", "-c", ALONE, "sh", *words], {**os.environ, **places}


def call(*words, timeout=300):
    """Run a command to its end; returns what it printed."""
    line, environment = command(*words)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{words[:3]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def base_image(dockerfile):
    """Make the stand-in of a Dockerfile's base image, unless it is there; returns its name."""
    text = dockerfile.read_text()
    tag = re.search(r"^ARG PYTHON=(\S+)", text, re.MULTILINE)[1]
    name = re.search(r"^FROM (\S+):\$\{PYTHON\}", text, re.MULTILINE)[1] + f":{tag}"
    version, release = re.fullmatch(r"(3\.\d+)-slim-(\w+)", tag).groups()
    if name not in call("buildah", "images", "--format", "{{.Name}}:{{.Tag}}").split():
        call("sh", "-c", BASE, "sh", release, name, timeout=600)
    assert f"Python {version}." in call("podman", "run", "--rm", "--network=none", name, "python", "--version")
    return name


def build(dockerfile, name, context, folder):
    """Build an image; pip uses the indexes of this machine and leaves no trace of them.

    Args:
        dockerfile: File.
        name: Name and tag of the image.
        context: Folder that is sent to the build.
        folder: For the settings of pip, mounted during the build alone.
    """
    mounts = [f"--volume={pip_settings(folder)}:/etc/pip.conf:ro"]
    if Path("/etc/ssl/certs").is_dir():
        mounts.append("--volume=/etc/ssl/certs:/etc/ssl/certs:ro")
    call(
        *("buildah", "build", "--isolation=chroot", "--pull-never", "--format=docker", "--no-cache"),
        *mounts,
        *("--file", str(dockerfile), "--tag", name, str(context)),
    )
    call("buildah", "rmi", "--prune")  # the image that had the name before, and the stages


def pip_settings(folder):
    """Write down pip's settings of this machine, without what lies in its own folders."""
    done = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    lines = ["[global]"]
    for key, value in re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", done.stdout, re.MULTILINE):
        addresses = [word for word in value.split() if urlsplit(word).scheme != "file"]
        if key in PIP and addresses:
            lines.append(f"{key} = {' '.join(addresses)}")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        lines.append(f"cert = {certificates}")
    path = folder / "pip.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def inspect(image):
    """Return what an image says of itself."""
    return json.loads(call("podman", "image", "inspect", image))[0]


@contextmanager
def running(image, name, log, *words, options=()):
    """Run a container as strictly as it can be run: no network, no capability, nothing to write to but /dev/shm.

    Yields:
        The process of podman in the foreground, and the command that enters the container's network.
    """
    line, environment = command(
        *("podman", "run", "--rm", "--replace", f"--name={name}", "--network=none", "--no-healthcheck"),
        *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
        *options,
        *(image, *words),
    )
    with processes.running(line, log, env=environment) as process:
        yield process, ["nsenter", f"--net=/proc/{container_pid(name, process)}/ns/net"]


def container_pid(name, process):
    """Wait for a container; returns the number of its first process on this machine."""
    line, environment = command("podman", "inspect", "--format={{.State.Pid}}", name)

    def pid():
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return int(done.stdout) if done.returncode == 0 else 0

    return processes.eventually(pid, process=process)
