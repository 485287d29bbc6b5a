import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from covidcxr.images.phantom import radiograph
from support.environment import program
from support.serving import serving
from support.uploads import picture

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
TOKEN = "a-token-of-some-length"


@pytest.fixture
def curl():
    program("curl")


@pytest.mark.usefixtures("curl")
def test_the_examples_work(model_file, tmp_path):
    for name, seed in (("chest.png", 0), ("other.png", 1)):
        (tmp_path / name).write_bytes(picture(radiograph(np.random.default_rng(seed), size=(240, 200))))
    (tmp_path / "notes.txt").write_text("no picture")
    examples = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 6
    answers = []
    with serving(model_file, tmp_path / "log") as (_, host, port):
        for example in examples:
            script = example.replace("http://127.0.0.1:8000", f"http://{host}:{port}")
            options = {"cwd": tmp_path, "env": {**os.environ, "COVIDCXR_TOKEN": TOKEN}, "capture_output": True}
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], text=True, check=False, **options)
            assert done.returncode == 0, (script, done.stderr)
            answers.append(done.stdout)
    text = "\n".join(answers)
    for word in (
        '"label":"normal"',
        '"preview":"data:',
        '"model_version"',
        '"detail": "Expected',
        "covidcxr_flags_total",
    ):
        assert word in text
