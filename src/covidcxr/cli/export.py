"""``covidcxr export``."""

import os
from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="MODEL.onnx", help="File to write.")
def command(run: Path, out: Path) -> None:
    """Export a finished RUN as one self-contained ONNX file, after comparing it with Keras."""
    require_extra("train", "tensorflow", "keras", "tf2onnx", "onnx")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from covidcxr.training.export import export

    export(run, out)
    click.echo(f"Exported: {out} ({out.stat().st_size / 1e6:.1f} MB). Next: covidcxr predict IMAGE --model {out}")
