"""What Windows lacks, fcntl above all, ends `covidcxr serve` with a message and disturbs nothing else."""

import subprocess
import sys

import pytest


def run(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_serve_ends_with_a_message():
    script = "import sys; from covidcxr.cli import main; sys.argv[1:] = ['serve']; sys.platform = 'win32'; main()"
    done = run(script)
    assert done.returncode == 1
    assert done.stderr == "Error: covidcxr serve does not run on Windows. Run it in WSL or in a container.\n"


@pytest.mark.parametrize("module", ["covidcxr.web.app", "covidcxr.web.static_site", "covidcxr.cli.serve"])
def test_the_rest_is_imported_without_fcntl(module):
    done = run(f"import sys; sys.modules['fcntl'] = None; import {module}")
    assert done.stderr == ""
