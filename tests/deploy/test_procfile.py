"""The Procfile, run by honcho as a host of that kind runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from covidcxr import DISCLAIMER
from deploy.tools import PROJECT, score, wait_until_ready
from support.ports import free_port


def test_it_answers_on_the_given_port_and_ends_with_sigterm(tmp_path):
    port, log = free_port(), tmp_path / "log"
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PORT": str(port), "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [programs / "honcho", "start", "--no-colour", "--procfile", PROJECT / "Procfile", "web"]
    with (
        log.open("wb") as file,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            assert wait_until_ready(f"http://127.0.0.1:{port}", process)["status"] == "ready"
            score(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
        assert process.wait(timeout=40) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
    text = log.read_text()
    assert DISCLAIMER in text
    assert "Traceback" not in text
    assert "stopped (rc=0)" in text, text  # the server itself, not killed
