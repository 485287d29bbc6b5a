"""Queue on disk: received images and unsent results survive a power cut, and no image is scored twice.

Objects are files; a row in SQLite holds the state of each image. Every step writes the file, syncs it and then writes
the row. So no row refers to a missing file, and a file without a row was never acknowledged: it is removed at the next
start.

The work for one image does not grow with the age of the queue: images in progress have an index of their own, and a
finished image keeps only its state under a hash of its UID, by which it is recognised when it is sent again.
"""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydicom.dataset import Dataset

from covidcxr._files import lock, whole

MAX_RETRY_DELAY_S = 300.0
"""Longest pause between two attempts to deliver results."""
BUSY_S = 60
"""How long to wait for a transaction of another program, such as the sqlite3 shell."""
KEY_BYTES = 16

_SCHEMA = """
CREATE TABLE IF NOT EXISTS image (
    key BLOB PRIMARY KEY,
    state TEXT NOT NULL,
    instance TEXT, model TEXT, received REAL, next_try REAL, results INTEGER, attempts INTEGER, refusals INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS in_progress ON image (state, next_try, received) WHERE instance IS NOT NULL;
"""
"""Finished images have NULL in all columns but the first two, and no place in the index."""
_KNOWN = "SELECT 1 FROM image WHERE key = ? AND state <> ?"
_FINISH = "REPLACE INTO image (key, state) VALUES (?, ?)"
_FROM_ENTRY = """
INSERT OR IGNORE INTO image SELECT image_key(instance, model), state, instance, model, received, next_try, results,
    tries, refusals FROM entry WHERE state IN ('received', 'scored');
INSERT OR IGNORE INTO image (key, state) SELECT image_key(instance, model), replace(state, 'left alone', 'skipped')
    FROM entry WHERE state NOT IN ('received', 'scored');
DROP TABLE entry;
"""
"""Conversion of the first layout, a table of all images ever received with their UIDs."""


class State(StrEnum):
    """State of an image."""

    RECEIVED = "received"
    SCORED = "scored"
    """Its results are in the queue, to be sent."""
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class QueueJob:
    """One image in progress.

    Attributes:
        instance: SOPInstanceUID.
        model: Name and hash of the model file that scores it.
        attempts: How often scoring was started; more than once if the process died during it.
    """

    instance: str
    model: str
    attempts: int = 0

    @property
    def key(self) -> bytes:
        """Primary key of its row: KEY_BYTES bytes."""
        return _key(self.instance, self.model)

    @property
    def name(self) -> str:
        """Start of the names of its files; an instance UID comes from the network and may be no valid file name."""
        return self.key.hex()


class Queue:
    """Images and their results, for any number of threads in one process; a context manager.

    Args:
        folder: Folder of the queue; created if missing.
        model: Name and hash of the model file. An image is scored once by each model.

    Raises:
        LockedError: Another process uses the folder.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.model = model
        self._received, self._results = folder / "received", folder / "results"
        for path in (self._received, self._results):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = lock(folder / "lock")
        self._lock = threading.Lock()
        self._arriving = [threading.Lock() for _ in range(256)]
        self._database = _open(folder / "queue.sqlite")
        self._backlog = 0
        self._hand_over()
        self._remove_stray_files()
        self._backlog = len(self._rows(State.RECEIVED))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._database.close()
        self._lock_file.close()

    @property
    def backlog(self) -> int:
        """Number of images that wait to be scored."""
        return self._backlog

    def knows(self, instance: str) -> bool:
        """Tell whether an image was received for this model and has not failed."""
        return self._knows(QueueJob(instance=instance, model=self.model))

    def add(self, instance: str, content: bytes) -> bool:
        """Take an image; when this returns, it is safe on disk.

        Args:
            instance: SOPInstanceUID.
            content: The object as a file (PS3.10).

        Returns:
            False if the image was known; the first copy is kept. A failed image is taken again.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
            sqlite3.Error: The row cannot be written.
        """
        job = QueueJob(instance=instance, model=self.model)
        with self._arriving[job.key[0]]:  # copies of one image by several senders: one at a time
            if self._knows(job):
                return False
            with whole(self._source(job)) as partial:
                partial.write_bytes(content)
            with self._transaction(backlog=1) as database:
                values = (job.key, State.RECEIVED, instance, self.model, time.time(), 0, 0, 0, 0)
                database.execute("REPLACE INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            return True

    def skip(self, instance: str) -> None:
        """Record that an image was acknowledged and will not be scored."""
        key = _key(instance, self.model)
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO image (key, state) VALUES (?, ?)", (key, State.SKIPPED))

    def next_received(self) -> QueueJob | None:
        """Return the image that has waited longest to be scored, and count the attempt."""
        with self._transaction() as database:
            found = database.execute(*_in_progress(State.RECEIVED, 0, 1)).fetchone()
            if found is None:
                return None
            job = QueueJob(instance=found[0], model=found[1], attempts=found[2] + 1)
            database.execute("UPDATE image SET attempts = ? WHERE key = ?", (job.attempts, job.key))
            return job

    def release(self, job: QueueJob) -> None:
        """Take back an attempt that failed for no fault of the image."""
        with self._transaction() as database:
            database.execute("UPDATE image SET attempts = ? WHERE key = ?", (job.attempts - 1, job.key))

    def read(self, job: QueueJob) -> bytes:
        """Return a received image as it was added."""
        return self._source(job).read_bytes()

    def finish(self, job: QueueJob, results: Sequence[Dataset]) -> None:
        """Keep the results of an image, to be sent; when this returns, they are safe on disk."""
        for path, result in zip(self._result_files(job, len(results)), results, strict=True):
            with whole(path) as partial:
                result.save_as(partial, enforce_file_format=True)
        with self._transaction(backlog=-1) as database:
            values = (State.SCORED, len(results), job.key)
            database.execute("UPDATE image SET state = ?, results = ? WHERE key = ?", values)
        self._source(job).unlink(missing_ok=True)

    def drop(self, job: QueueJob, state: State) -> None:
        """Record that a received image has no results: SKIPPED or FAILED."""
        with self._transaction(backlog=-1) as database:
            database.execute(_FINISH, (job.key, state))
        self._source(job).unlink(missing_ok=True)

    def due(self, now: float, limit: int) -> list[QueueJob]:
        """Return images whose results are to be sent: first those never refused, oldest first."""
        with self._lock:
            found = self._database.execute(*_in_progress(State.SCORED, now, limit))
            return [QueueJob(instance=row[0], model=row[1], attempts=row[2]) for row in found]

    def results(self, job: QueueJob) -> list[Path]:
        """Return the files with the results of a scored image."""
        return self._result_files(job, self._column(job, "results"))

    def delivered(self, job: QueueJob) -> None:
        """Record that the peer has all results of an image."""
        files = self.results(job)
        with self._transaction() as database:
            database.execute(_FINISH, (job.key, State.DELIVERED))
        for path in files:
            path.unlink(missing_ok=True)

    def postpone(self, job: QueueJob, now: float) -> float:
        """Double the pause before the results of an image are sent again; return the pause in seconds."""
        refusals = self._column(job, "refusals") + 1
        delay = retry_delay(refusals)
        with self._transaction() as database:
            values = (refusals, now + delay, job.key)
            database.execute("UPDATE image SET refusals = ?, next_try = ? WHERE key = ?", values)
        return delay

    def counts(self) -> dict[State, int]:
        """Return the number of images in each state; reads every row."""
        with self._lock:
            found = dict(self._database.execute("SELECT state, count(*) FROM image GROUP BY state"))
        return {state: found.get(state, 0) for state in State}

    @contextmanager
    def _transaction(self, backlog: int = 0) -> Iterator[sqlite3.Connection]:
        """Commit at the end, and only then change the backlog; roll back after an error."""
        with self._lock:
            with self._database:
                yield self._database
            self._backlog += backlog

    def _knows(self, job: QueueJob) -> bool:
        with self._lock:
            return self._database.execute(_KNOWN, (job.key, State.FAILED)).fetchone() is not None

    def _column(self, job: QueueJob, name: str) -> int:
        with self._lock:
            return int(self._database.execute(f"SELECT {name} FROM image WHERE key = ?", (job.key,)).fetchone()[0])

    def _source(self, job: QueueJob) -> Path:
        return self._received / f"{job.name}.dcm"

    def _result_files(self, job: QueueJob, count: int) -> list[Path]:
        return [self._results / f"{job.name}-{index}.dcm" for index in range(count)]

    def _rows(self, state: State) -> list[tuple[QueueJob, int]]:
        query = "SELECT instance, model, results FROM image WHERE state = ? AND instance IS NOT NULL"
        rows = self._database.execute(query, (state,))
        return [(QueueJob(instance=instance, model=model), results) for instance, model, results in rows]

    def _hand_over(self) -> None:
        """Take over images that wait for the model of an earlier start."""
        for job, _ in self._rows(State.RECEIVED):
            if job.model != self.model:
                self.add(job.instance, self.read(job))
                with self._transaction() as database:
                    database.execute("DELETE FROM image WHERE key = ?", (job.key,))

    def _remove_stray_files(self) -> None:
        """Remove files of steps that an earlier process did not complete."""
        needed = {self._source(job) for job, _ in self._rows(State.RECEIVED)}
        for job, results in self._rows(State.SCORED):
            needed.update(self._result_files(job, results))
        for path in (*self._received.iterdir(), *self._results.iterdir()):
            if path not in needed:
                path.unlink()


def retry_delay(failures: int) -> float:
    """Return the pause in seconds after a number of failures in a row: 1, 2, 4 ... MAX_RETRY_DELAY_S."""
    return min(MAX_RETRY_DELAY_S, 2.0 ** min(failures - 1, 30))  # months of failures would overflow a float


def _key(instance: str, model: str) -> bytes:
    return hashlib.sha256(f"{model} {instance}".encode()).digest()[:KEY_BYTES]


def _in_progress(state: State, now: float, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Query and parameters for instance, model and attempts of images in progress, answered from the index in order."""
    query = (
        "SELECT instance, model, attempts FROM image WHERE state = ? AND next_try <= ? AND instance IS NOT NULL "
        "ORDER BY next_try, received LIMIT ?"
    )
    return query, (state, now, limit)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    for pragma in ("journal_mode = wal", "synchronous = full"):
        database.execute(f"PRAGMA {pragma}")
    database.executescript(_SCHEMA)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
        database.create_function("image_key", 2, _key)
        database.executescript(f"BEGIN; {_FROM_ENTRY} COMMIT;")
    return database
