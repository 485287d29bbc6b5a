"""Write EfficientNet-Lite0 at 224 px with three classes as an ONNX file: the reference for the shipped network."""

import sys
from pathlib import Path

import onnx

from covidcxr.training.export import convert, serving_model
from covidcxr.training.networks import build

SIZE = 224


def main() -> None:
    """Write the file named on the command line."""
    model = build("efficientnet_lite0", size=SIZE, classes=3, weights="imagenet", dropout=0)
    onnx.save(convert(serving_model(model), SIZE), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
