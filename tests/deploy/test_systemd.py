"""The unit of systemd: valid, and closed by systemd's own count."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import DEPLOY, program

UNIT = DEPLOY / "covidcxr.service"
EXPOSURE = 15
"""Tenths of a point of 10, as `systemd-analyze security` counts: 0 is a service that may do nothing at all."""


@pytest.fixture
def unit(tmp_path):
    """The unit, with the program that is installed here."""
    text = UNIT.read_text()
    assert "/opt/covidcxr/bin/covidcxr" in text
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/covidcxr/bin", str(Path(sys.executable).parent)))
    return path


def analyze(*words):
    done = subprocess.run([program("systemd-analyze", "systemd"), *words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_systemd_takes_it(unit):
    status, said = analyze("verify", "--recursive-errors=no", "--man=no", str(unit))
    assert (status, said) == (0, "")


def test_systemd_would_see_mistakes(unit):
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHoem=yes"))
    assert "ProtectHoem" in analyze("verify", "--recursive-errors=no", "--man=no", str(unit))[1]


def test_it_may_do_little(unit):
    status, said = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit))
    assert status == 0, said
