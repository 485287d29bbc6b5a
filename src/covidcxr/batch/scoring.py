"""Scoring of one shard into one Parquet file, the same on one machine and on a cluster."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covidcxr._system import give_back_freed_memory, reuse_freed_blocks
from covidcxr.batch.plan import Plan, part_of
from covidcxr.batch.reading import ImageFile, files
from covidcxr.batch.storage import join, whole, write
from covidcxr.errors import BatchError
from covidcxr.images.decode import decode_image
from covidcxr.images.grey import Grey
from covidcxr.prediction.artifact import Artifact
from covidcxr.prediction.fields import ColumnType, columns
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.scoring import Outcome, decoded, scored

DECODED = 16
"""Images that are decoded before the network runs on them."""
TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.TEXTS: pa.list_(pa.string()),
    ColumnType.NUMBER: pa.float32(),
    ColumnType.BOOLEAN: pa.bool_(),
}
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
        self._columns = columns(predictor.artifact)
        self._schema = row_schema(predictor.artifact)
        planned = self._plan.settings.model
        if predictor.model != planned:
            raise BatchError(f"Expected the model {planned} on every machine. Received {predictor.model}.")

    def __call__(self, shard: int) -> ShardResult:
        """Score a shard and write its part; an existing part is replaced by the same rows."""
        images = errors = 0
        rows = self._rows(shard)
        with (
            whole(part_of(self._job.out, shard)) as path,
            pq.ParquetWriter(path, self._schema, compression="zstd") as writer,
        ):
            while some := list(islice(rows, DECODED)):
                writer.write_batch(pa.RecordBatch.from_pylist(some, self._schema))
                images += len(some)
                errors += sum(row["error"] is not None for row in some)
        return ShardResult(shard=shard, images=images, errors=errors)

    def _rows(self, shard: int) -> Iterator[dict[str, Any]]:
        decoded_files = map(_decoded, files(self._plan.read(shard)))
        for position, file in enumerate(scored(self._predictor, decoded_files, at_once=DECODED)):
            answer = file.to_dict()
            yield {
                "shard": shard,
                "position": position,
                "member": file.member,
                **{column.name: column.value(answer) for column in self._columns},
                "model": self._predictor.model,
                "map": self._draw(shard, position, file),
                "read_ms": file.read_ms,
                "decode_ms": file.decode_ms,
                "predict_ms": file.predict_ms,
                **({} if file.grey is None else _about(file.grey)),
            }

    def _draw(self, shard: int, position: int, outcome: Outcome) -> str | None:
        """Save the activation map over its image, if maps are wanted and there is one; return its address."""
        folder = self._plan.settings.maps
        found = outcome.prediction.activation_map if outcome.prediction else None
        if folder is None or found is None or outcome.grey is None:
            return None
        from covidcxr.prediction.heatmap import overlay

        name = join(folder, f"{shard:06}", f"{position:06}.png")
        buffer = io.BytesIO()
        overlay(outcome.grey, found).save(buffer, "PNG")
        write(name, buffer.getvalue())
        return name


def row_schema(artifact: Artifact) -> pa.Schema:
    """Return the columns of a part, the same for all parts of a batch.

    A row holds its shard and its position in it, the place of the image, the fields of the prediction
    (covidcxr.prediction.fields; null with an error), the map, times in milliseconds, and size in pixels, mean and
    standard deviation of the grey values (0..255).
    """
    number = pa.float32()
    path, *fields = [(column.name, TYPES[column.type]) for column in columns(artifact)]
    return pa.schema(
        [
            *[("shard", pa.int32()), ("position", pa.int32()), path, ("member", pa.string())],
            *[*fields, ("map", pa.string())],
            *[("read_ms", number), ("decode_ms", number), ("predict_ms", number)],
            *[("width", pa.int32()), ("height", pa.int32()), ("grey_mean", number), ("grey_spread", number)],
        ]
    )


def _decoded(file: ImageFile) -> ImageFile:
    """Decode a file and drop its bytes."""
    return replace(decoded(file, lambda _: decode_image(file.data, file.name)), data=b"")


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
