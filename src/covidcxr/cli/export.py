"""``covidcxr export``."""

import os
from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="MODEL.onnx", help="The file to write.")
def command(run: Path, out: Path) -> None:
    """Export a finished RUN to one ONNX file with its whole contract, checked against Keras."""
    require_extra("train", "tensorflow", "keras", "tf2onnx", "onnx")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # nothing in TensorFlow's start-up notes helps a user
    from covidcxr.training.export import export

    export(run, out)
    click.echo(f"Exported: {out} ({out.stat().st_size / 1e6:.1f} MB). Next: covidcxr predict IMAGE --model {out}")
