"""Scoring of one shard into one Parquet file, the same on one machine and on a cluster."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covidcxr._system import give_back_freed_memory, reuse_freed_blocks
from covidcxr.batch.plan import Plan, part_of
from covidcxr.batch.reading import File, files, ms_since
from covidcxr.batch.storage import join, whole, write
from covidcxr.errors import BatchError, ImageError
from covidcxr.images.decode import decode_image
from covidcxr.images.grey import Grey
from covidcxr.prediction.artifact import Artifact
from covidcxr.prediction.predictor import Prediction, Predictor

DECODED = 16
"""Images that are decoded before the network runs on them."""
SAMPLED_SIDE = 256
"""Pixels along the shorter side of an image from which its mean and standard deviation are computed."""


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """What a worker needs to know, wherever it runs.

    Attributes:
        out: Folder of the batch.
        model: Model file; None for the shipped model.
    """

    out: str
    model: Path | None

    def predictor(self, *, threads: int) -> Predictor:
        """Load the model; see Predictor.load."""
        reuse_freed_blocks()
        predictor = Predictor.load(self.model, threads=threads)
        give_back_freed_memory()
        return predictor


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """Counts of a shard whose part is written.

    Attributes:
        shard: Number of the shard in the plan.
        images: Number of rows.
        errors: Number of rows with an error.
    """

    shard: int
    images: int
    errors: int


class ShardScorer:
    """Scores shards of one plan; each worker has its own."""

    def __init__(self, job: BatchJob, predictor: Predictor) -> None:
        self._job, self._predictor = job, predictor
        self._plan = Plan(job.out)
        self._schema = row_schema(predictor.artifact)
        planned = self._plan.settings.model
        if predictor.model != planned:
            raise BatchError(f"Expected the model {planned} on every machine. Received {predictor.model}.")

    def __call__(self, shard: int) -> ShardResult:
        """Score a shard and write its part; an existing part is replaced by the same rows."""
        images = errors = 0
        with (
            whole(part_of(self._job.out, shard)) as path,
            pq.ParquetWriter(path, self._schema, compression="zstd") as writer,
        ):
            for rows in self._rows(shard):
                writer.write_batch(pa.RecordBatch.from_pylist(rows, self._schema))
                images += len(rows)
                errors += sum(row["error"] is not None for row in rows)
        return ShardResult(shard=shard, images=images, errors=errors)

    def _rows(self, shard: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of a shard, DECODED at a time."""
        found = files(self._plan.read(shard))
        position = 0
        while rows := [self._row(file) for file in islice(found, DECODED)]:
            for number, row in enumerate(rows, start=position):
                row |= {"shard": shard, "position": number}
            self._score([row for row in rows if row["error"] is None])
            yield rows
            position += len(rows)

    def _row(self, file: File) -> dict[str, Any]:
        """Decode a file into a row with either the key ``grey`` or an error."""
        row = {"path": file.path, "member": file.member, "read_ms": file.read_ms, "error": file.error}
        row["model"] = self._predictor.model
        if file.error:
            return row
        start = time.perf_counter()
        try:
            grey = decode_image(file.data, file.name)
        except ImageError as error:
            return row | {"error": str(error)}
        return row | {"grey": grey, "decode_ms": ms_since(start), **_about(grey)}

    def _score(self, rows: list[dict[str, Any]]) -> None:
        """Add the predictions to decoded rows and remove their images."""
        start = time.perf_counter()
        greys = [row.pop("grey") for row in rows]
        predictions = self._predictor.predict_many(greys)
        for row, grey, prediction in zip(rows, greys, predictions, strict=True):
            row |= {"predict_ms": ms_since(start) / len(rows), **_said(prediction)}
            row["map"] = self._draw(row, grey, prediction)

    def _draw(self, row: dict[str, Any], grey: Grey, prediction: Prediction) -> str | None:
        """Save the activation map over its radiograph, if maps are wanted and there is one; return its address."""
        folder = self._plan.settings.maps
        if folder is None or prediction.activation_map is None:
            return None
        from covidcxr.prediction.heatmap import overlay

        name = join(folder, f"{row['shard']:06}", f"{row['position']:06}.png")
        buffer = io.BytesIO()
        overlay(grey, prediction.activation_map).save(buffer, "PNG")
        write(name, buffer.getvalue())
        return name


def row_schema(artifact: Artifact) -> pa.Schema:
    """Return the columns of a part, the same for all parts of a batch.

    A row holds the place of the image; the prediction, null with an error: the probability (0..1) of each class and
    whether it reaches each operating point; why the model abstained or the image could not be scored; the model; times
    in milliseconds; size in pixels, mean and standard deviation of the grey values (0..255).
    """
    text, number, texts = pa.string(), pa.float32(), pa.list_(pa.string())
    return pa.schema(
        [
            *[("shard", pa.int32()), ("position", pa.int32()), ("path", text), ("member", text), ("label", text)],
            *[(str(label), number) for label in artifact.labels],
            *[(str(point.name), pa.bool_()) for point in artifact.operating_points],
            *[("prediction_set", texts), ("interval_low", number), ("interval_high", number)],
            *[("flags", texts), ("reason", text), ("error", text), ("lung_share", number), ("map", text)],
            *[("model", text), ("read_ms", number), ("decode_ms", number), ("predict_ms", number)],
            *[("width", pa.int32()), ("height", pa.int32()), ("grey_mean", number), ("grey_spread", number)],
        ]
    )


def _about(grey: Grey) -> dict[str, Any]:
    """Return size, mean and standard deviation of an image, the latter two from every n-th pixel if it is large."""
    step = max(1, min(grey.shape) // SAMPLED_SIDE)
    sampled = grey[::step, ::step]
    height, width = grey.shape
    return {
        "width": width,
        "height": height,
        "grey_mean": float(np.mean(sampled)),
        "grey_spread": float(np.std(sampled, dtype=np.float64)),
    }


def _said(prediction: Prediction) -> dict[str, Any]:
    low, high = prediction.interval or (None, None)
    return {
        "label": prediction.label,
        **{str(label): value for label, value in prediction.probabilities.items()},
        **{str(name): call.positive for name, call in prediction.operating_points.items()},
        "prediction_set": prediction.prediction_set,
        "interval_low": low,
        "interval_high": high,
        "flags": [str(flag.code) for flag in prediction.flags],
        "reason": prediction.reason,
        "lung_share": prediction.lung_share,
    }
