import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from covidcxr.images.phantom import radiograph

TRAINING = ("tensorflow", "keras", "pandas", "scipy", "sklearn", "matplotlib")
"""Never loaded where predictions are made: the serving install has none of them."""
ONLY_FOR_DICOM = ("pydicom", "gdcm")
ONLY_FOR_THE_WEB = ("flask", "gunicorn", "werkzeug")
PREDICT = """
from covidcxr.cli import cli
try:
    cli(["predict", "image.png", "--csv", "out.csv", "--heatmap", "maps", "--model", MODEL])
except SystemExit as end:
    assert not end.code, end.code
"""
IMPORTS = """
import covidcxr.cli.predict, covidcxr.cli.serve, covidcxr.images.dicom, covidcxr.prediction.heatmap
import covidcxr.prediction.predictor
import covidcxr.prediction.lungs, covidcxr.web, covidcxr.web.app, covidcxr.web.server
"""


@pytest.mark.parametrize(
    ("program", "banned", "loaded"),
    [
        (PREDICT, (*TRAINING, *ONLY_FOR_DICOM, *ONLY_FOR_THE_WEB, "tqdm"), "onnxruntime"),
        (IMPORTS, TRAINING, "pydicom"),
    ],
)
def test_prediction_loads_nothing_of_training(program, banned, loaded, model_file, tmp_path):
    Image.fromarray(radiograph(np.random.default_rng(0), size=(128, 128))).save(tmp_path / "image.png")
    ask = f"MODEL = {str(model_file)!r}\n{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)
    modules = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert loaded in modules
    assert not modules.intersection(banned)
