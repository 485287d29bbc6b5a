"""covidcxr: COVID-19 on frontal chest X-rays, for education and research only."""

import os

__version__ = "0.1.0"

DISCLAIMER = "For education and research only. Not a medical device, not a diagnosis."

# ONNX Runtime's builds report to their maker from 1.29 on unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
