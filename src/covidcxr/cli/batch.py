"""``covidcxr batch``: score very many images, on this machine or on a cluster."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import resumable
from covidcxr.errors import require_extra

if TYPE_CHECKING:
    from covidcxr.batch.plan import Plan
    from covidcxr.batch.scoring import Done


@click.command("batch", epilog=DISCLAIMER)
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("--out", required=True, metavar="DIR", help="Folder of the results, also s3://... or gs://...")
@click.option("--ray", metavar="ADDRESS", help="Score on a Ray cluster, such as auto or 10.0.0.1:6379.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes, each with a model. [default: cores]"
)
@click.option(
    "--maps",
    metavar="DIR",
    help="Draw the activation maps over the images, a PNG file each; none where the model declines.",
)
@click.option(
    "--reference",
    metavar="DIR",
    help="An earlier --out: how far are these images from those? [default: the model's training images]",
)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model file. [default: the one that comes with the package]",
)
def command(
    *,
    sources: tuple[str, ...],
    out: str,
    ray: str | None,
    workers: int | None,
    maps: str | None,
    reference: str | None,
    model: Path | None,
) -> None:
    """Score very many chest X-rays into Parquet files: DIR/part-*.parquet, one row an image.

    SRC is a file, folder, pattern or tar file, a list (.csv or .parquet with a column "path"), or lies in a bucket
    (s3://, gs://). An image that cannot be scored is a row with its error. Stopped by
    whatever, the same command goes on.
    """
    require_extra("batch", "pyarrow", *(["ray"] if ray else []))
    logging.captureWarnings(True)  # decoders warn of harmless flaws, and quote the file: a patient's name, for example
    from covidcxr.batch.run import PAGE, Options, run
    from covidcxr.batch.storage import join

    folders = [_absolute(folder) for folder in (out, maps, reference)]
    options = Options(
        sources=sources,
        out=folders[0] or out,
        maps=folders[1],
        reference=folders[2],
        model=model.absolute() if model else None,
        ray=ray,
        workers=workers,
    )
    with resumable():
        summary = run(options, _progress)
    for line in _report(summary):
        click.echo(line)
    click.echo(f"{join(options.out, PAGE)}. {DISCLAIMER}")


def _absolute(folder: str | None) -> str | None:
    """Workers may stand in another folder."""
    return folder if folder is None or "://" in folder else os.path.abspath(folder)  # noqa: PTH100 - keeps links


def _progress(plan: "Plan", left: "Sequence[int]", done: "Iterator[Done]") -> "Iterator[Done]":
    """Show images, rate and time left; how many images a tar file holds is expected from those that are done."""
    from tqdm import tqdm

    rows_left = sum(plan.rows[shard] for shard in left)
    rows = images = 0
    with tqdm(total=rows_left, unit="image", disable=None) as bar:
        for one in done:
            rows, images = rows + plan.rows[one.shard], images + one.images
            bar.total = round(rows_left * images / rows)
            bar.update(one.images)
            yield one


def _report(summary: dict[str, Any]) -> Iterator[str]:
    from covidcxr.batch.reference import MISSING

    run = summary["run"]
    yield f"{summary['images']} images, {run['images']} of them now, {run['images_per_s']:.1f} a second."
    for name in ("labels", "flags", "errors"):
        if summary[name]:
            yield f"{name}: " + ", ".join(f"{key} {count}" for key, count in summary[name].items())
    if summary["reference"] is None:
        yield MISSING
    for name, one in summary["drift"].items():
        yield f"drift of {name}: {one['change']} (index {one['index']:.3f}, by chance up to {one['chance']:.3f})"
