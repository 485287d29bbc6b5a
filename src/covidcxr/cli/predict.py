"""``covidcxr predict``: score files and print a table, JSON or CSV; optionally draw activation maps."""

import csv
import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import model_option

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.prediction.scoring import Outcome

NAME_BYTES = 200
"""Longest part of an image's name in the name of its map; file systems allow 255 bytes, and a hash follows."""

Write = Callable[["Outcome"], None]


@click.command("predict", epilog=DISCLAIMER)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a CSV file instead of printing a table; /dev/stdout prints it.",
)
@click.option(
    "--heatmap",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the activation maps over the images, as DIR/NAME.HASH.png with a hash of the whole path. There is none "
    "where the model declines to answer.",
)
@model_option
def command(
    paths: tuple[str, ...], as_json: bool, csv_file: Path | None, heatmap: Path | None, model: Path | None
) -> None:
    """Score chest X-rays: files, folders (with all images below) and patterns; PNG, JPEG, TIFF, BMP, WebP, DICOM.

    Results come in the order of the arguments, those of folders and patterns sorted by path. A file that cannot be
    scored gets an entry like the others and sets exit status 1, and so does a map that cannot be written.
    """
    if as_json and csv_file:
        raise click.UsageError("Expected one of --json and --csv. Received both.")
    from covidcxr._logs import silence_libraries
    from covidcxr.images.paths import expand
    from covidcxr.prediction.artifact import ACTIVATION_MAP
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.prediction.scoring import score_files

    silence_libraries()
    files = expand(paths)
    predictor = Predictor.load(model)
    if heatmap and ACTIVATION_MAP not in predictor.outputs:
        raise click.UsageError(f"Expected a model with activation maps. Received {predictor.model}, which has none.")
    output = _json_list() if as_json else _csv_rows(csv_file, predictor) if csv_file else _table(predictor)
    outcomes = score_files(predictor, files)
    if csv_file or not sys.stdout.isatty():
        outcomes = _with_progress(outcomes, len(files))
    try:
        failed, undrawn = _report(outcomes, len(files), output, heatmap)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # click ends quietly
        raise click.ClickException(f"Cannot write {error.filename or 'the results'}: {error.strerror}.") from error
    if csv_file:
        click.echo(f"{csv_file}: {len(files) - failed} images scored, {failed} errors. {DISCLAIMER}", err=True)
    if failed or undrawn:
        sys.exit(1)


def _report(
    outcomes: "Iterator[Outcome]", total: int, output: AbstractContextManager[Write], heatmap: Path | None
) -> tuple[int, int]:
    """Write everything; return how many files could not be scored, and how many maps could not be written."""
    failed = undrawn = done = 0
    try:
        with output as write:
            for outcome in outcomes:
                if heatmap:
                    undrawn += not _draw(outcome, heatmap)
                write(outcome)
                done += 1
                failed += outcome.error is not None
    except KeyboardInterrupt:
        click.echo(f"Interrupted: {done} of {total} files are done.", err=True)
        sys.exit(130)  # 128 + SIGINT, the convention of shells
    return failed, undrawn


def _with_progress(outcomes: "Iterator[Outcome]", total: int) -> "Iterator[Outcome]":
    if total < 2 or not sys.stderr.isatty():
        return outcomes
    from tqdm import tqdm

    bar: Iterator[Outcome] = iter(tqdm(outcomes, total=total, unit="image"))
    return bar


def _draw(outcome: "Outcome", folder: Path) -> bool:
    """Save the activation map over its image, if there is one; return False, with a message, if that fails."""
    from covidcxr.prediction.heatmap import overlay

    folder.mkdir(parents=True, exist_ok=True)
    if outcome.prediction is None or outcome.grey is None or outcome.prediction.activation_map is None:
        return True
    digest = hashlib.sha256(str(Path(outcome.path).absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = folder / f"{_shortened(Path(outcome.path).name)}.{digest}.png"
    try:
        overlay(outcome.grey, outcome.prediction.activation_map).save(target)
    except OSError as error:
        click.echo(f"Cannot write {click.format_filename(target)}: {error.strerror or error}.", err=True)
        return False
    return True


def _shortened(name: str) -> str:
    """Return the first characters of a file name, at most NAME_BYTES bytes."""
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[:-1]
    return name


@contextmanager
def _json_list() -> Iterator[Write]:
    """Print a list item by item; it is closed even after an interruption, so that what was printed can be parsed."""
    before = "["

    def write(outcome: "Outcome") -> None:
        nonlocal before
        click.echo(f"{before}\n  {json.dumps(outcome.to_dict())}", nl=False)
        before = ","

    try:
        yield write
    finally:
        click.echo("[]" if before == "[" else "\n]")


@contextmanager
def _csv_rows(path: Path, predictor: "Predictor") -> Iterator[Write]:
    """Write the rows to a file that appears whole; after an interruption, tell where the rows are."""
    from covidcxr._files import whole
    from covidcxr.prediction.fields import cell, columns

    table = columns(predictor.artifact)
    with whole(path, keep=True) as partial:
        try:
            with partial.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([column.name for column in table])

                def write(outcome: "Outcome") -> None:
                    answer = outcome.to_dict()
                    writer.writerow([cell(column.value(answer)) for column in table])

                yield write
        except BaseException:
            if partial != path and partial.exists():
                click.echo(f"{partial} holds the files that are done. {path} was not changed.", err=True)
            raise


@contextmanager
def _table(predictor: "Predictor") -> Iterator[Write]:
    """Print one line for each image, its path last because it can have any length."""
    labels = predictor.artifact.labels
    widths = [max(9, len(label)) for label in labels]

    def line(first: str, cells: Sequence[str], last: str) -> None:
        columns = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        click.echo(f"{first:<9}  {columns}  {last}")

    def write(outcome: "Outcome") -> None:
        prediction = outcome.prediction
        if prediction is None:
            line("error", ["-"] * len(labels), click.format_filename(str(outcome.error)))
            return
        notes = [flag.text for flag in prediction.flags]
        cells = [f"{prediction.probabilities[label]:.3f}" for label in labels]
        name = click.format_filename(outcome.path)
        line(prediction.label or "abstained", cells, f"{name} ({' '.join(notes)})" if notes else name)

    click.echo(f"{DISCLAIMER}\nModel: {predictor.model}\n")
    line("label", labels, "file")
    yield write
