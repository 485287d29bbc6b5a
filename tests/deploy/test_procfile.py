"""The Procfile, run by honcho as a host of that kind runs it."""

import os
import signal
import sys
from pathlib import Path

from covidcxr import DISCLAIMER
from support.deployment import score, wait_until_ready
from support.environment import ROOT
from support.ports import free_port
from support.processes import running


def test_it_answers_on_the_given_port_and_ends_with_sigterm(tmp_path):
    port, log = free_port(), tmp_path / "log"
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PORT": str(port), "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [programs / "honcho", "start", "--no-colour", "--procfile", ROOT / "Procfile", "web"]
    with running(command, log, cwd=tmp_path, env=environment) as process:
        assert wait_until_ready(f"http://127.0.0.1:{port}", process)["status"] == "ready"
        score(f"http://127.0.0.1:{port}")
    assert process.returncode in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
    text = log.read_text()
    assert DISCLAIMER in text
    assert "Traceback" not in text
    assert "stopped (rc=0)" in text, text  # the server itself, not killed
