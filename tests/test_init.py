import os
import subprocess
import sys

import pytest

SCORE = """
import sys
import covidcxr.prediction.predictor, os
assert "onnxruntime" in sys.modules
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnx_runtime_reports_to_nobody_unless_its_user_wants_it(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | given
    done = subprocess.run([sys.executable, "-c", SCORE], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == expected
