"""The plan of a batch: which inputs make up which shard, written down before the first one is scored."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from covidcxr.batch.sources import is_archive
from covidcxr.batch.storage import BatchError, exists, join, names_in, parquet, whole
from covidcxr.images.paths import ImagePath

PLAN = "plan.parquet"
METADATA = b"covidcxr"
SCHEMA = pa.schema([("path", pa.string()), ("error", pa.string())])
SMALLEST, LARGEST, STEP = 16, 512, 8
"""Images in a shard: its size doubles every STEP shards. So few images keep all cores busy, many do not make many
files, and what a crash can cost stays some seconds of one core."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What must not change between the start of a batch and its end.

    Attributes:
        sources: What the user named.
        model: Name and hash of the model file.
        maps: Folder of the activation maps; None for none.
    """

    sources: tuple[str, ...]
    model: str
    maps: str | None

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the settings whose ``dataclasses.asdict`` went through JSON."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "sources": tuple(values["sources"])})


class Plan:
    """An open plan. Each row group of its file is a shard: the inputs of one part file, in order.

    Attributes:
        settings: Of the batch.
        shards: How many there are.
        rows: Inputs of each shard; a tar file is one, however many images it holds.
    """

    def __init__(self, out: str) -> None:
        self._file = parquet(join(out, PLAN))
        self.settings = Settings.from_json(self._file.schema_arrow.metadata[METADATA])
        self.shards: int = self._file.num_row_groups
        metadata = self._file.metadata
        self.rows: list[int] = [metadata.row_group(shard).num_rows for shard in range(self.shards)]

    def read(self, shard: int) -> list[ImagePath]:
        """Return the inputs of a shard."""
        return [ImagePath(**row) for row in self._file.read_row_group(shard).to_pylist()]


def make_plan(out: str, settings: Settings, inputs: Iterable[ImagePath]) -> Plan:
    """Write the plan, or, where there is one, check that it is of the same batch.

    Args:
        out: Folder of the batch.
        settings: Of the batch.
        inputs: Not looked at where there is a plan: what was added to a folder since then belongs to another batch.

    Raises:
        BatchError: There is no input, or the folder holds a batch of other settings.
    """
    if not exists(join(out, PLAN)):
        _write(join(out, PLAN), settings, inputs)
    plan = Plan(out)
    for name, value in asdict(settings).items():
        planned = getattr(plan.settings, name)
        if planned != value:
            raise BatchError(
                f"Expected the {name} with which the batch in {out} was started, {_shown(planned)}. "
                f"Received {_shown(value)}: give the same, or another --out."
            )
    return plan


def part_name(shard: int) -> str:
    """Return the name of the file with the rows of a shard."""
    return f"part-{shard:06}.parquet"


def parts_done(out: str, plan: Plan) -> list[int]:
    """Return the shards whose part is there: it is there only when all of its rows are."""
    names = names_in(out)
    return [shard for shard in range(plan.shards) if part_name(shard) in names]


def _write(name: str, settings: Settings, inputs: Iterable[ImagePath]) -> None:
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
    """Cut inputs into shards; a tar file, which can only be read from its start, is one of its own."""
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
