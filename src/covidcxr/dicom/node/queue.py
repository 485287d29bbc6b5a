"""The queue on disk: what was received and what is to be sent survive a power cut, and nothing is scored twice.

Files hold the objects, SQLite what became of each. The order of every step is file, fsync, row: a row never speaks of a
file that is not there, and a file that no row speaks of was never promised to anyone and is removed at the next start.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Self

import peewee
from pydicom.dataset import Dataset

from covidcxr.errors import CovidCxrError

LONGEST_PAUSE_S = 300.0
"""Between two tries to deliver results that the peer refused."""
BUSY_S = 60
"""How long a thread waits for another one's transaction."""


class State(StrEnum):
    """What became of an image."""

    RECEIVED = "received"
    SCORED = "scored"
    """The results lie in the queue, to be sent."""
    DELIVERED = "delivered"
    LEFT_ALONE = "left alone"
    FAILED = "failed"


class QueueError(CovidCxrError):
    """The folder of a queue cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image on its way.

    Attributes:
        instance: SOPInstanceUID.
        model: Name and hash of the model file that scores it, or has.
        tries: How often it has been tried to score; more than once if the process died over it.
    """

    instance: str
    model: str
    tries: int

    @property
    def name(self) -> str:
        """Start of the names of its files; a UID comes from the network and need not be one."""
        return hashlib.sha256(f"{self.model} {self.instance}".encode()).hexdigest()[:32]


class Queue:
    """Images and their results. Safe to share between threads; one process at a time; a context manager.

    Attributes:
        folder: Where everything lies.
        model: Name and hash of the model file. Another model scores an image again, the same one does not.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.model = model
        self._received, self._results = folder / "received", folder / "results"
        for path in (self._received, self._results):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _lock(folder)
        pragmas = {"journal_mode": "wal", "synchronous": "full"}
        self._database = peewee.SqliteDatabase(str(folder / "queue.sqlite"), pragmas=pragmas, timeout=BUSY_S)
        self._entry = _entry_model(self._database)
        self._adding = threading.Lock()
        with self._database.connection_context():
            self._database.create_tables([self._entry])
        self._hand_over()
        self._tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock_file.close()

    def knows(self, instance: str) -> bool:
        """Tell whether an image was taken for this model, whatever became of it."""
        with self._database.connection_context():
            return bool(self._row(self._job(instance)).exists())

    def add(self, instance: str, content: bytes) -> bool:
        """Take an image; when this returns, it is safe on disk.

        Args:
            instance: SOPInstanceUID.
            content: The object as a file (PS3.10).

        Returns:
            False if the image was there before: it is kept as it was.

        Raises:
            OSError: The disk is full, for example.
        """
        job = self._job(instance)
        partial = _write_synced(self._received / f"{job.name}.{threading.get_ident()}.part", content)
        with self._adding, self._database.connection_context():
            if self._row(job).exists():
                partial.unlink()
                return False
            _rename_synced(partial, self._source(job))
            self._insert(job, State.RECEIVED)
            return True

    def leave_alone(self, instance: str, reason: str) -> None:
        """Note that an image was answered and is not scored."""
        job = self._job(instance)
        with self._adding, self._database.connection_context():
            if not self._row(job).exists():
                self._insert(job, State.LEFT_ALONE, reason=reason)

    def next_received(self) -> Job | None:
        """Return the image that has waited longest to be scored, and count the try."""
        with self._database.connection_context():
            query = self._in_state(State.RECEIVED).where(self._entry.model == self.model)
            found = query.order_by(self._entry.received).first()
            if found is None:
                return None
            job = replace(_to_job(found), tries=found.tries + 1)
            self._update(job, tries=job.tries)
            return job

    def read(self, job: Job) -> bytes:
        """Return a received image as it was added."""
        return self._source(job).read_bytes()

    def finish(self, job: Job, results: Sequence[Dataset]) -> None:
        """Keep the results of an image, to be sent; when this returns, they are safe on disk."""
        for path, result in zip(self._result_files(job, len(results)), results, strict=True):
            _rename_synced(_write_synced(path.with_suffix(".part"), result), path)
        with self._database.connection_context():
            self._update(job, state=State.SCORED, scored=time.time(), results=len(results))
        self._source(job).unlink(missing_ok=True)

    def drop(self, job: Job, state: State, reason: str) -> None:
        """Note that an image has no results: LEFT_ALONE or FAILED."""
        with self._database.connection_context():
            self._update(job, state=state, reason=reason)
        self._source(job).unlink(missing_ok=True)

    def due(self, now: float, limit: int) -> list[Job]:
        """Return images whose results are to be sent, those that have waited longest first."""
        with self._database.connection_context():
            query = self._in_state(State.SCORED).where(self._entry.next_try <= now).order_by(self._entry.scored)
            return [_to_job(found) for found in query.limit(limit)]

    def results(self, job: Job) -> list[Path]:
        """Return the files with the results of a scored image."""
        with self._database.connection_context():
            return self._result_files(job, int(self._row(job).get().results))

    def delivered(self, job: Job) -> None:
        """Note that the peer has all results of an image."""
        files = self.results(job)
        with self._database.connection_context():
            self._update(job, state=State.DELIVERED)
        for path in files:
            path.unlink(missing_ok=True)

    def postpone(self, job: Job, now: float) -> float:
        """Wait twice as long as before until the results of an image are sent again; return the pause in seconds."""
        with self._database.connection_context():
            refusals = int(self._row(job).get().refusals) + 1
            pause = pause_after(refusals)
            self._update(job, refusals=refusals, next_try=now + pause)
        return pause

    def counts(self) -> dict[State, int]:
        """Return how many images are in each state."""
        with self._database.connection_context():
            return {state: self._in_state(state).count() for state in State}

    def _job(self, instance: str) -> Job:
        return Job(instance=instance, model=self.model, tries=0)

    def _source(self, job: Job) -> Path:
        return self._received / f"{job.name}.dcm"

    def _result_files(self, job: Job, number: int) -> list[Path]:
        return [self._results / f"{job.name}-{index}.dcm" for index in range(number)]

    def _row(self, job: Job) -> Any:  # noqa: ANN401 - peewee has no types
        return self._entry.select().where(self._is(job))

    def _is(self, job: Job) -> Any:  # noqa: ANN401 - peewee has no types
        return (self._entry.instance == job.instance) & (self._entry.model == job.model)

    def _in_state(self, state: State) -> Any:  # noqa: ANN401 - peewee has no types
        return self._entry.select().where(self._entry.state == state)

    def _insert(self, job: Job, state: State, **values: object) -> None:
        row = {"instance": job.instance, "model": job.model, "state": state, "received": time.time()}
        self._entry.insert(**row, **values).execute()

    def _update(self, job: Job, **values: object) -> None:
        self._entry.update(**values).where(self._is(job)).execute()

    def _hand_over(self) -> None:
        """Take over what waits for a model that was here before."""
        with self._database.connection_context():
            waiting = list(self._in_state(State.RECEIVED).where(self._entry.model != self.model))
        for job in map(_to_job, waiting):
            self.add(job.instance, self.read(job))
            with self._database.connection_context():
                self._entry.delete().where(self._is(job)).execute()

    def _tidy(self) -> None:
        """Remove files that a stop left behind: nobody was told that they are here, or nobody needs them any more."""
        with self._database.connection_context():
            needed = {self._source(_to_job(found)) for found in self._in_state(State.RECEIVED)}
            for found in self._in_state(State.SCORED):
                needed.update(self._result_files(_to_job(found), found.results))
        for path in (*self._received.iterdir(), *self._results.iterdir()):
            if path not in needed:
                path.unlink()


def pause_after(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row: 1, 2, 4 ... LONGEST_PAUSE_S."""
    return min(LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 30))  # days of failures would be too much for a float


def _to_job(found: Any) -> Job:  # noqa: ANN401 - peewee has no types
    return Job(instance=str(found.instance), model=str(found.model), tries=int(found.tries))


def _entry_model(database: Any) -> Any:  # noqa: ANN401 - peewee has no types
    """Return the table of a database. A class of its own for each: peewee binds a class to one database."""

    class Entry(peewee.Model):
        instance = peewee.CharField()
        model = peewee.CharField()
        state = peewee.CharField(index=True)
        reason = peewee.CharField(default="")
        received = peewee.FloatField()
        scored = peewee.FloatField(default=0)
        results = peewee.IntegerField(default=0)
        tries = peewee.IntegerField(default=0)
        refusals = peewee.IntegerField(default=0)
        next_try = peewee.FloatField(default=0)

        class Meta:
            primary_key = peewee.CompositeKey("instance", "model")

    Entry.bind(database)
    return Entry


def _lock(folder: Path) -> IO[bytes]:
    """Keep other processes out; the lock goes with the process, however it ends."""
    file = (folder / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise QueueError(f"Expected a queue that no other process uses. Received {folder}, which one does.") from error
    return file


def _write_synced(path: Path, content: bytes | Dataset) -> Path:
    try:
        with path.open("wb") as file:
            if isinstance(content, Dataset):
                content.save_as(file, enforce_file_format=True)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # on a full disk every byte counts, and these are of a patient
        raise
    return path


def _rename_synced(source: Path, target: Path) -> None:
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
