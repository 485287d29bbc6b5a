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
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

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


class Queue:
    """Images and their results, for one model. Safe to share between threads; one process at a time.

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
            self._tidy()

    def close(self) -> None:
        """Let another process use the folder."""
        self._lock_file.close()

    def knows(self, instance: str) -> bool:
        """Tell whether an image was taken, whatever became of it."""
        with self._database.connection_context():
            return bool(self._select(instance).exists())

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
        partial = _write_synced(self._received / f"{_name(instance)}.{threading.get_ident()}.part", content)
        with self._adding, self._database.connection_context():
            if self._select(instance).exists():
                partial.unlink()
                return False
            _rename_synced(partial, self._source(instance))
            self._insert(instance, State.RECEIVED)
            return True

    def leave_alone(self, instance: str, reason: str) -> None:
        """Note that an image was answered and is not scored."""
        with self._adding, self._database.connection_context():
            if not self._select(instance).exists():
                self._insert(instance, State.LEFT_ALONE, reason=reason)

    def next_received(self) -> str | None:
        """Return the image that has waited longest to be scored, and count the try."""
        with self._database.connection_context():
            entry = self._all(State.RECEIVED).order_by(self._entry.received).first()
            if entry is None:
                return None
            self._update(entry.instance, tries=entry.tries + 1)
            return str(entry.instance)

    def tries(self, instance: str) -> int:
        """How often an image has been tried to score; more than once if the process died over it."""
        with self._database.connection_context():
            return int(self._select(instance).get().tries)

    def read(self, instance: str) -> bytes:
        """Return a received image as it was added."""
        return self._source(instance).read_bytes()

    def finish(self, instance: str, results: Sequence[Dataset]) -> None:
        """Keep the results of an image, to be sent; when this returns, they are safe on disk."""
        for number, result in enumerate(results):
            path = self._results / f"{_name(instance)}-{number}.dcm"
            _rename_synced(_write_synced(path.with_suffix(".part"), result), path)
        with self._database.connection_context():
            self._update(instance, state=State.SCORED, scored=time.time(), results=len(results))
        self._source(instance).unlink(missing_ok=True)

    def drop(self, instance: str, state: State, reason: str) -> None:
        """Note that an image has no results: LEFT_ALONE or FAILED."""
        with self._database.connection_context():
            self._update(instance, state=state, reason=reason)
        self._source(instance).unlink(missing_ok=True)

    def due(self, now: float, limit: int) -> list[str]:
        """Return images whose results are to be sent, those that have waited longest first."""
        with self._database.connection_context():
            query = self._all(State.SCORED).where(self._entry.next_try <= now).order_by(self._entry.scored)
            return [str(entry.instance) for entry in query.limit(limit)]

    def results(self, instance: str) -> list[Path]:
        """Return the files with the results of a scored image."""
        with self._database.connection_context():
            return self._result_files(instance, self._select(instance).get().results)

    def delivered(self, instance: str) -> None:
        """Note that the peer has all results of an image."""
        files = self.results(instance)
        with self._database.connection_context():
            self._update(instance, state=State.DELIVERED)
        for path in files:
            path.unlink(missing_ok=True)

    def postpone(self, instance: str, now: float) -> float:
        """Wait twice as long as before until the results of an image are sent again; return the pause in seconds."""
        with self._database.connection_context():
            refusals = int(self._select(instance).get().refusals) + 1
            pause = min(LONGEST_PAUSE_S, 2.0**refusals)
            self._update(instance, refusals=refusals, next_try=now + pause)
        return pause

    def counts(self) -> dict[State, int]:
        """Return how many images are in each state."""
        with self._database.connection_context():
            return {state: self._all(state).count() for state in State}

    def _source(self, instance: str) -> Path:
        return self._received / f"{_name(instance)}.dcm"

    def _result_files(self, instance: str, number: int) -> list[Path]:
        return [self._results / f"{_name(instance)}-{index}.dcm" for index in range(number)]

    def _select(self, instance: str) -> Any:  # noqa: ANN401 - peewee has no types
        return self._entry.select().where(self._entry.instance == instance, self._entry.model == self.model)

    def _all(self, state: State) -> Any:  # noqa: ANN401 - peewee has no types
        return self._entry.select().where(self._entry.model == self.model, self._entry.state == state)

    def _insert(self, instance: str, state: State, **values: object) -> None:
        self._entry.insert(instance=instance, model=self.model, state=state, received=time.time(), **values).execute()

    def _update(self, instance: str, **values: object) -> None:
        entry = self._entry
        entry.update(**values).where(entry.instance == instance, entry.model == self.model).execute()

    def _tidy(self) -> None:
        """Remove files that a stop left behind: nobody was told that they are here, or nobody needs them any more."""
        needed = {self._source(entry.instance) for entry in self._all(State.RECEIVED)}
        for entry in self._all(State.SCORED):
            needed.update(self._result_files(entry.instance, entry.results))
        for path in (*self._received.iterdir(), *self._results.iterdir()):
            if path not in needed:
                path.unlink()


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


def _name(instance: str) -> str:
    """Return a file name for a UID, which comes from the network and need not be one."""
    return hashlib.sha256(instance.encode()).hexdigest()[:32]


def _write_synced(path: Path, content: bytes | Dataset) -> Path:
    with path.open("wb") as file:
        if isinstance(content, Dataset):
            content.save_as(file, enforce_file_format=True)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path


def _rename_synced(source: Path, target: Path) -> None:
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
