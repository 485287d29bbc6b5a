"""The plan of a batch: which inputs belong to which shard, written before the first one is scored."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from covidcxr.batch.sources import is_archive
from covidcxr.batch.storage import exists, join, names_in, parquet, whole
from covidcxr.errors import BatchError
from covidcxr.images.paths import ImagePath

PLAN = "plan.parquet"
ROWS = "rows"
"""Folder of the parts. It holds nothing else, so that pandas, DuckDB and Spark read the folder as one table."""
METADATA = b"covidcxr"
SCHEMA = pa.schema([("path", pa.string()), ("error", pa.string())])
SMALLEST, LARGEST, STEP = 16, 512, 8
"""Images per shard; the size doubles every STEP shards. Small batches then use every core, large ones do not make too
many files, and a crash costs a few seconds of one core."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What must stay the same from the start of a batch to its end.

    Attributes:
        sources: The sources as the user gave them.
        model: Name and hash of the model file.
        maps: Folder of the activation maps; None for none.
    """

    sources: tuple[str, ...]
    model: str
    maps: str | None

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the settings that ``dataclasses.asdict`` and JSON were given."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "sources": tuple(values["sources"])})


class Plan:
    """An open plan. Each row group of its file is a shard: the inputs of one part, in order.

    Attributes:
        settings: Settings of the batch.
        shards: Number of shards.
        rows: Number of inputs in each shard; a tar file is one input, however many images it holds.
    """

    def __init__(self, out: str) -> None:
        self._file = parquet(join(out, PLAN))
        self.settings = BatchSettings.from_json(self._file.schema_arrow.metadata[METADATA])
        self.shards: int = self._file.num_row_groups
        metadata = self._file.metadata
        self.rows: list[int] = [metadata.row_group(shard).num_rows for shard in range(self.shards)]

    def read(self, shard: int) -> list[ImagePath]:
        """Return the inputs of a shard."""
        return [ImagePath(**row) for row in self._file.read_row_group(shard).to_pylist()]


def make_plan(out: str, settings: BatchSettings, inputs: Iterable[ImagePath]) -> Plan:
    """Write the plan, or check that an existing one is of the same batch.

    Args:
        out: Folder of the batch.
        settings: Settings of the batch.
        inputs: Images and tar files. Ignored if there is a plan: files added since then belong to another batch.

    Raises:
        BatchError: There is no input, or the folder holds a batch with other settings.
    """
    if not exists(join(out, PLAN)):
        _write(join(out, PLAN), settings, inputs)
    plan = Plan(out)
    for name, value in asdict(settings).items():
        planned = getattr(plan.settings, name)
        if planned != value:
            raise BatchError(
                f"Expected the {name} with which the batch in {out} was started, {_shown(planned)}. "
                f"Received {_shown(value)}. Give the same {name}, or another --out."
            )
    return plan


def part_of(out: str, shard: int) -> str:
    """Return the address of the Parquet file with the rows of a shard."""
    return join(out, ROWS, _part_name(shard))


def parts_done(out: str, plan: Plan) -> list[int]:
    """Return the shards whose part exists; a part appears only when it is complete."""
    names = names_in(join(out, ROWS))
    return [shard for shard in range(plan.shards) if _part_name(shard) in names]


def _part_name(shard: int) -> str:
    return f"part-{shard:06}.parquet"


def _write(name: str, settings: BatchSettings, inputs: Iterable[ImagePath]) -> None:
    schema = SCHEMA.with_metadata({METADATA: json.dumps(asdict(settings)).encode()})
    with whole(name) as path:
        shards = 0
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for shard in _shards(inputs):
                writer.write_table(pa.Table.from_pylist([asdict(item) for item in shard], schema))
                shards += 1
        if not shards:
            raise BatchError(f"Expected at least one image. Received none from {_shown(settings.sources)}.")


def _shards(inputs: Iterable[ImagePath]) -> Iterator[Sequence[ImagePath]]:
    """Cut inputs into shards. A tar file is a shard of its own, because it can only be read from its start."""
    shard: list[ImagePath] = []
    full = 0
    for item in inputs:
        if item.error is None and is_archive(item.path):
            yield [item]
            continue
        shard.append(item)
        if len(shard) == min(LARGEST, SMALLEST << (full // STEP)):
            yield shard
            shard, full = [], full + 1
    if shard:
        yield shard


def _shown(value: str | tuple[str, ...] | None) -> str:
    return " ".join(value) if isinstance(value, tuple) else value or "none"
