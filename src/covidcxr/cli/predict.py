"""``covidcxr predict``: score files, as a table, JSON or CSV, with activation maps if wanted."""

import csv
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covidcxr import DISCLAIMER
from covidcxr.errors import ImageError

if TYPE_CHECKING:
    from covidcxr.images.grey import Grey
    from covidcxr.images.paths import Input
    from covidcxr.labels import Label, PointName
    from covidcxr.prediction.predictor import Prediction, Predictor

BATCH = 8
"""Images in memory at a time."""
NAME_BYTES = 200
"""Longest name of an image in the name of its map: file systems take 255 bytes, and a hash and an ending follow."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one file: a prediction and the decoded image, or an error."""

    path: str
    prediction: "Prediction | None" = None
    grey: "Grey | None" = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return self.prediction.to_dict(self.path) if self.prediction else {"path": self.path, "error": self.error}


Write = Callable[[Result], None]
CSV_NOTES = (
    *("interval_low", "interval_high", "prediction_set", "abstained", "reason", "flags"),
    *("lung_share", "model", "audit"),
)


@click.command("predict", epilog=DISCLAIMER)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a CSV file instead.")
@click.option(
    "--heatmap",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the activation maps over the images, as DIR/NAME.HASH.png; HASH stands for the whole path. "
    "None where the model declines.",
)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model file. [default: the one that comes with the package]",
)
def command(
    paths: tuple[str, ...], as_json: bool, csv_file: Path | None, heatmap: Path | None, model: Path | None
) -> None:
    """Score chest X-rays: files, folders (with all images below) and patterns, PNG, JPEG, TIFF, BMP, WebP, DICOM.

    A file that cannot be scored is reported with the others and makes the exit status 1; so does a map that cannot be
    written.
    """
    if as_json and csv_file:
        raise click.UsageError("Expected one of --json and --csv. Received both.")
    logging.captureWarnings(True)  # decoders warn of harmless flaws, and quote the file: a patient's name, for example
    from covidcxr.images.paths import expand
    from covidcxr.prediction.artifact import ACTIVATION_MAP
    from covidcxr.prediction.predictor import Predictor

    inputs = expand(paths)
    predictor = Predictor.load(model)
    if heatmap and ACTIVATION_MAP not in predictor.outputs:
        raise click.UsageError(f"Expected a model that gives maps. Received {predictor.model}, which gives none.")
    output = _json_list() if as_json else _csv_rows(csv_file, predictor) if csv_file else _table(predictor)
    try:
        failed, undrawn = _run(inputs, predictor, output, heatmap, quiet=csv_file is None and sys.stdout.isatty())
    except OSError as error:
        if error.filename is None:  # a closed pipe, which click handles
            raise
        raise click.ClickException(f"Expected to write {error.filename}. Received: {error.strerror}.") from error
    if csv_file:
        click.echo(f"{csv_file}: {len(inputs) - failed} images scored, {failed} errors. {DISCLAIMER}")
    if failed or undrawn:
        sys.exit(1)


def _run(
    inputs: "Sequence[Input]",
    predictor: "Predictor",
    output: AbstractContextManager[Write],
    heatmap: Path | None,
    *,
    quiet: bool,
) -> tuple[int, int]:
    """Score and write everything; return how many files could not be scored, and how many maps not be written."""
    failed = undrawn = done = 0
    try:
        with output as write:
            for result in _progress(_score(inputs, predictor), len(inputs), quiet=quiet):
                if heatmap:
                    undrawn += not _draw(result, heatmap)
                write(result)
                done += 1
                failed += result.error is not None
    except KeyboardInterrupt:
        click.echo(f"Interrupted: {done} of {len(inputs)} files are done.", err=True)
        sys.exit(130)  # 128 + SIGINT, as shells say it
    return failed, undrawn


def _score(inputs: "Sequence[Input]", predictor: "Predictor") -> Iterator[Result]:
    for start in range(0, len(inputs), BATCH):
        batch = [_decode(item) for item in inputs[start : start + BATCH]]
        predictions = iter(predictor.predict_many([item.grey for item in batch if item.grey is not None]))
        for item in batch:
            yield item if item.error else Result(path=item.path, prediction=next(predictions), grey=item.grey)


def _decode(item: "Input") -> Result:
    from covidcxr.images.decode import read_image

    if item.error:
        return Result(path=item.path, error=item.error)
    try:
        return Result(path=item.path, grey=read_image(Path(item.path)))
    except ImageError as error:
        return Result(path=item.path, error=str(error))


def _progress(results: Iterator[Result], total: int, *, quiet: bool) -> Iterator[Result]:
    if quiet or total < 2 or not sys.stderr.isatty():
        return results
    from tqdm import tqdm

    bar: Iterator[Result] = iter(tqdm(results, total=total, unit="image"))
    return bar


def _draw(result: Result, folder: Path) -> bool:
    """Save the overlay of a result that has a map, and tell whether that went well; if not, the others go on.

    The name holds a hash of the whole path: no two files share one.
    """
    from covidcxr.prediction.heatmap import overlay

    folder.mkdir(parents=True, exist_ok=True)
    if result.prediction is None or result.grey is None or result.prediction.activation_map is None:
        return True
    digest = hashlib.sha256(str(Path(result.path).absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = folder / f"{_shortened(Path(result.path).name)}.{digest}.png"
    try:
        overlay(result.grey, result.prediction.activation_map).save(target)
    except OSError as error:
        name = click.format_filename(target)
        click.echo(f"Expected to write {name}. Received: {error.strerror or error}.", err=True)
        return False
    return True


def _shortened(name: str) -> str:
    """Return the characters at the start of a file name that fit into NAME_BYTES."""
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[:-1]
    return name


@contextmanager
def _json_list() -> Iterator[Write]:
    """Print a list as it grows. It is closed whatever happens: an interrupted one can be read, too."""
    before = "["

    def write(result: Result) -> None:
        nonlocal before
        click.echo(f"{before}\n  {json.dumps(result.to_dict())}", nl=False)
        before = ","

    try:
        yield write
    finally:
        click.echo("[]" if before == "[" else "\n]")


@contextmanager
def _csv_rows(path: Path, predictor: "Predictor") -> Iterator[Write]:
    """Write rows next to the file and put them in its place when all are there; else say where they are."""
    labels = predictor.artifact.labels
    points = [point.name for point in predictor.artifact.operating_points]
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "label", *labels, *points, *CSV_NOTES, "error"])
            yield lambda result: writer.writerow(_csv_row(result, labels, points))
    except BaseException:
        if partial.exists():
            click.echo(f"{partial} holds the files that are done; {path} was left as it was.", err=True)
        raise
    partial.replace(path)


def _csv_row(result: Result, labels: "Sequence[Label]", points: "Sequence[PointName]") -> list[object]:
    prediction = result.prediction
    if prediction is None:
        return [result.path, *[""] * (1 + len(labels) + len(points) + len(CSV_NOTES)), result.error]
    probabilities = [prediction.probabilities[label] for label in labels]
    calls = [prediction.operating_points.get(point) for point in points]
    positive = ["" if call is None else str(call.positive).lower() for call in calls]
    notes = [
        *(prediction.interval or ("", "")),
        " ".join(prediction.prediction_set or ()),
        str(prediction.abstained).lower(),
        prediction.reason or "",
        " ".join(flag.code for flag in prediction.flags),
        prediction.lung_share,
        prediction.model,
        prediction.audit.verdict if prediction.audit else "",
    ]
    return [result.path, prediction.label or "", *probabilities, *positive, *notes, ""]


@contextmanager
def _table(predictor: "Predictor") -> Iterator[Write]:
    """Print a line an image, the file last: paths can be of any length."""
    labels = predictor.artifact.labels
    widths = [max(9, len(label)) for label in labels]

    def line(first: str, cells: Sequence[str], last: str) -> None:
        columns = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        click.echo(f"{first:<9}  {columns}  {last}")

    def write(result: Result) -> None:
        prediction = result.prediction
        if prediction is None:
            line("error", ["-"] * len(labels), click.format_filename(str(result.error)))
            return
        notes = [flag.text for flag in prediction.flags]
        cells = [f"{prediction.probabilities[label]:.3f}" for label in labels]
        name = click.format_filename(result.path)
        line(prediction.label or "abstained", cells, f"{name} ({'; '.join(notes)})" if notes else name)

    click.echo(f"{DISCLAIMER}\nModel: {predictor.model}\n")
    line("label", labels, "file")
    yield write
