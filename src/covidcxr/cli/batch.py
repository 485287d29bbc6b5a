"""``covidcxr batch``: score very many images, on this machine or on a cluster."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import model_option, resumable
from covidcxr.errors import require_extra

if TYPE_CHECKING:
    from covidcxr.batch.plan import Plan
    from covidcxr.batch.scoring import ShardResult


class BatchGroup(click.Group):
    """A group that scores unless its first word names a subcommand."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - of click
    ) -> click.Context:
        """Return the context of the subcommand that the first word names, or of this command."""
        if args and args[0] in self.commands:
            name, *args = args
            return self.commands[name].make_context(f"{info_name} {name}", args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(
    "batch",
    cls=BatchGroup,
    invoke_without_command=True,
    subcommand_metavar="",
    context_settings={"allow_interspersed_args": True},
    epilog=DISCLAIMER,
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, metavar="DIR", help="Folder of the results; may be s3://... or gs://...")
@click.option("--ray", metavar="ADDRESS", help="Score on a Ray cluster, such as auto or 10.0.0.1:6379.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes, each with a model. [default: one per core]"
)
@click.option(
    "--maps", metavar="DIR", help="Draw the activation maps over the images, one PNG file each, into this folder."
)
@click.option(
    "--reference",
    metavar="REF",
    help="Measure drift from the DIR of an earlier batch, or from a file made by 'covidcxr batch reference'. "
    "[default: the training images of the shipped model]",
)
@model_option
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
    """Score very many chest X-rays into the Parquet files DIR/rows, one row per image.

    SOURCE is a file, a folder, a pattern, a tar file, a list (.csv or .parquet with a column "path"), or any of these
    in a bucket (s3://, gs://). An image that cannot be scored becomes a row with its error. After an interruption the
    same command resumes.
    """
    require_extra("batch", "pyarrow", *(["ray"] if ray else []))
    logging.captureWarnings(True)  # decoders warn of harmless flaws, and quote the file: a patient's name, for example
    from covidcxr.batch.run import PAGE, BatchOptions, run
    from covidcxr.batch.storage import join

    options = BatchOptions(
        sources=sources,
        out=_absolute(out),
        maps=_absolute(maps) if maps else None,
        reference=_absolute(reference) if reference else None,
        model=model.absolute() if model else None,
        ray=ray,
        workers=workers,
    )
    with resumable():
        summary = run(options, _progress)
    for line in _report(summary):
        click.echo(line)
    click.echo(f"{join(options.out, PAGE)}. {DISCLAIMER}")


@command.command("reference")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE", help="JSON file to write."
)
@model_option
def reference_command(manifest: Path, *, out: Path, model: Path | None) -> None:
    """Make a reference for drift from the training images of a model.

    MANIFEST is the one that the model was trained on, which the hash in the model file proves. Test and external images
    are left out. FILE holds distributions only, no image and no name. It must end in .json.
    """
    require_extra("batch", "pyarrow")
    require_extra("train", "pydantic", "sklearn")
    logging.captureWarnings(True)
    from covidcxr._files import write_json
    from covidcxr.batch.run import make_reference
    from covidcxr.data.manifest import read_manifest
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.recipes.selection import trained_parts

    predictor = Predictor.load(model)
    parts = trained_parts(read_manifest(manifest), predictor)
    made = make_reference([record.path for record in parts.train + parts.validation], model, _progress)
    write_json(out, made, indent=None)
    click.echo(f"{out}: distributions of {made['images']} training images of {made['model']}.")


def _absolute(name: str) -> str:
    """Make a path absolute, because workers may have another working directory."""
    return name if "://" in name else os.path.abspath(name)  # noqa: PTH100 - keeps links


def _progress(plan: "Plan", left: "Sequence[int]", results: "Iterator[ShardResult]") -> "Iterator[ShardResult]":
    """Show images, rate and time left; the number of images in tar files is extrapolated from those done."""
    from tqdm import tqdm

    rows_left = sum(plan.rows[shard] for shard in left)
    rows = images = 0
    with tqdm(total=rows_left, unit="image", disable=None) as bar:
        for result in results:
            rows, images = rows + plan.rows[result.shard], images + result.images
            bar.total = round(rows_left * images / rows)
            bar.update(result.images)
            yield result


def _report(summary: dict[str, Any]) -> Iterator[str]:
    from covidcxr.batch.reference import MISSING

    run = summary["run"]
    yield f"{summary['images']} images, {run['images']} of them in this run, {run['images_per_s']:.1f} per second."
    for name in ("labels", "flags", "errors"):
        if summary[name]:
            yield f"{name}: " + ", ".join(f"{key} {count}" for key, count in summary[name].items())
    if summary["reference"] is None:
        yield MISSING
    for name, one in summary["drift"].items():
        yield f"drift of {name}: {one['change']} (index {one['index']:.3f}, 95 % limit of chance {one['chance']:.3f})"
