import io
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from covidcxr.dicom.node.queue import MAX_RETRY_DELAY_S, Queue, QueueJob, State, retry_delay
from covidcxr.errors import LockedError
from support.dicom_node import chest

MODEL = "brightness@0"


def content(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def files(folder):
    return sorted(path.name for name in ("received", "results") for path in (folder / name).iterdir())


def scored(queue, instance, *results):
    """Let an image be received and scored; return its job."""
    queue.add(instance, b"image")
    job = queue.next_received()
    queue.finish(job, results or [chest()])
    return job


def instances(jobs):
    return [job.instance for job in jobs]


def test_an_image_goes_through(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        assert queue.next_received() is None
        assert queue.add("1.2", b"image")
        assert queue.knows("1.2")
        assert not queue.knows("1.3")
        job = queue.next_received()
        assert job.instance == "1.2"
        assert queue.read(job) == b"image"
        queue.finish(job, [chest(1), chest(2)])
        assert queue.next_received() is None
        assert queue.due(now=0, limit=9) == [job]
        assert [path.exists() for path in queue.results(job)] == [True, True]
        queue.delivered(job)
        assert queue.due(now=0, limit=9) == []
        assert queue.counts()[State.DELIVERED] == 1
        assert files(tmp_path) == []  # nothing about a patient stays


def test_an_image_that_comes_again_is_kept_as_it_was(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        assert queue.add("1.2", b"first")
        assert not queue.add("1.2", b"second")
        job = queue.next_received()
        assert queue.read(job) == b"first"
        queue.drop(job, State.SKIPPED)
        assert not queue.add("1.2", b"third")
        queue.skip("1.2")
        assert queue.counts() == {state: int(state is State.SKIPPED) for state in State}
        assert files(tmp_path) == []


def test_a_failed_image_that_comes_again_is_taken_again(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        queue.add("1.2", b"first")
        queue.drop(queue.next_received(), State.FAILED)
        assert not queue.knows("1.2")
        assert queue.add("1.2", b"second")
        assert queue.knows("1.2")
        job = queue.next_received()
        assert (job.attempts, queue.read(job), queue.backlog) == (1, b"second", 1)


def test_of_many_threads_that_bring_the_same_image_one_is_taken(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        taken = []
        threads = [threading.Thread(target=lambda: taken.append(queue.add("1.2", b"image"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False] * 15 + [True]
        assert len(files(tmp_path)) == 1


def test_everything_is_there_after_a_start_and_what_nobody_was_promised_is_gone(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        scored(queue, "1.2")
        queue.add("1.1", b"waiting")
    kept = files(tmp_path)
    assert len(kept) == 2
    (tmp_path / "received" / "x.part").write_bytes(b"half")
    (tmp_path / "received" / "unknown.dcm").write_bytes(b"no row speaks of it")
    (tmp_path / "results" / "unknown.dcm").write_bytes(b"no row speaks of it")
    with Queue(tmp_path, MODEL) as queue:
        assert queue.next_received().instance == "1.1"
        assert instances(queue.due(now=0, limit=9)) == ["1.2"]
    assert files(tmp_path) == kept


def test_another_model_scores_an_image_again(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        scored(queue, "1.2")
    with Queue(tmp_path, "brightness@1") as queue:
        scored(queue, "1.2")
        assert {job.model for job in queue.due(now=0, limit=9)} == {MODEL, "brightness@1"}
        assert len(files(tmp_path)) == 2


def test_what_waits_for_a_model_that_is_gone_is_scored_by_the_next(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        queue.add("1.2", b"image")
    with Queue(tmp_path, "brightness@1") as queue:
        job = queue.next_received()
        assert (job.instance, job.model, queue.read(job)) == ("1.2", "brightness@1", b"image")
        assert queue.counts()[State.RECEIVED] == 1
    assert len(files(tmp_path)) == 1


def test_one_process_at_a_time(tmp_path):
    with Queue(tmp_path, MODEL), pytest.raises(LockedError, match="Another process is using"):
        Queue(tmp_path, MODEL)
    with Queue(tmp_path, MODEL):
        pass


def test_pauses_grow_to_a_limit_and_a_pause_holds_nobody_else_up(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        first, _ = scored(queue, "1.1"), scored(queue, "1.2")
        pauses = [queue.postpone(first, now=1000) for _ in range(12)]
        assert pauses[:3] == [1, 2, 4]
        assert pauses[-1] == MAX_RETRY_DELAY_S
        assert instances(queue.due(now=1001, limit=9)) == ["1.2"]
        assert instances(queue.due(now=1001 + MAX_RETRY_DELAY_S, limit=9)) == ["1.2", "1.1"]
        assert instances(queue.due(now=1001 + MAX_RETRY_DELAY_S, limit=1)) == ["1.2"]


def test_pauses_hold_for_months():
    assert [retry_delay(failures) for failures in (1, 2, 9, 10, 100_000)] == [1, 2, 256, 300, 300]


def test_tries_are_counted_across_starts(tmp_path):
    for expected in (1, 2, 3):
        with Queue(tmp_path, MODEL) as queue:
            queue.add("1.2", b"image")
            assert queue.next_received().attempts == expected


def test_only_the_owner_can_read_the_folders(tmp_path):
    with Queue(tmp_path / "queue", MODEL):
        for name in ("received", "results"):
            assert (tmp_path / "queue" / name).stat().st_mode & 0o077 == 0


OLD = """
CREATE TABLE entry (instance VARCHAR(255) NOT NULL, model VARCHAR(255) NOT NULL, state VARCHAR(255) NOT NULL,
    reason VARCHAR(255) NOT NULL, received REAL NOT NULL, scored REAL NOT NULL, results INTEGER NOT NULL,
    tries INTEGER NOT NULL, refusals INTEGER NOT NULL, next_try REAL NOT NULL, PRIMARY KEY (instance, model));
CREATE INDEX entry_state ON entry (state);
"""
OLD_STATES = ("received", "scored", "delivered", "left alone", "failed")


def old_folder(folder):
    """A queue as written before images were known by hashes: one image in each state, the scored one refused once."""
    for name in ("received", "results"):
        (folder / name).mkdir()
    database = sqlite3.connect(folder / "queue.sqlite")
    database.execute("PRAGMA journal_mode = wal")
    database.executescript(OLD)
    for number, state in enumerate(OLD_STATES):
        row = (
            f"1.{number}",
            MODEL,
            state,
            "",
            1e9 + number,
            0,
            2 * (state == "scored"),
            1,
            state == "scored",
            1e9 * (state == "scored"),
        )
        database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()
    (folder / "received" / f"{QueueJob(instance='1.0', model=MODEL).name}.dcm").write_bytes(b"image")
    for index in range(2):
        (folder / "results" / f"{QueueJob(instance='1.1', model=MODEL).name}-{index}.dcm").write_bytes(b"result")


def test_a_queue_of_the_first_layout_is_taken_over(tmp_path):
    old_folder(tmp_path)
    kept = files(tmp_path)
    for _ in range(2):
        with Queue(tmp_path, MODEL) as queue:
            assert queue.counts() == dict.fromkeys(State, 1)
            assert [queue.knows(f"1.{number}") for number in range(6)] == [True] * 4 + [False] * 2  # 1.4 has failed
            assert queue.backlog == 1
            assert instances(queue.due(now=1e9, limit=9)) == ["1.1"]
            assert queue.due(now=1e9 - 1, limit=9) == []
            assert files(tmp_path) == kept
    with Queue(tmp_path, MODEL) as queue:
        job = queue.next_received()
        assert (job.instance, job.attempts, queue.read(job)) == ("1.0", 2, b"image")
        (sent,) = queue.due(now=1e9, limit=9)
        assert [path.read_bytes() for path in queue.results(sent)] == [b"result"] * 2
        assert queue.postpone(sent, now=1e9) == 2


FINISHED = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
INSERT INTO image (key, state) SELECT CAST(printf('%016d', n) AS BLOB), 'delivered' FROM number
"""


def fill(folder, finished, waiting=0):
    """Write a queue with so many finished images, and so many that wait to be scored and to be sent."""
    with Queue(folder, MODEL) as queue, queue._transaction() as database:
        database.execute(FINISHED, (finished,))
        for number in range(waiting):
            for state in (State.RECEIVED, State.SCORED):
                job = QueueJob(instance=f"2.{state}.{number}", model=MODEL)
                values = (job.key, state, job.instance, MODEL, number, 0, 0, 0, 0)
                database.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def passage(queue, number):
    """Let an image arrive twice, the next one be scored, the next one be delivered, and another one be skipped."""
    for _ in range(2):
        if not queue.knows(f"1.{number}"):
            assert queue.backlog < 10_000
            queue.add(f"1.{number}", b"image")
    queue.finish(queue.next_received(), [])
    queue.delivered(queue.due(now=time.time(), limit=20)[0])
    queue.skip(f"3.{number}")


def work(folder):
    """For one image: instructions of SQLite's virtual machine, in tens, and seconds of processor time."""
    ran, images = [], 20
    with Queue(folder, MODEL) as queue:
        passage(queue, 0)
        queue._database.set_progress_handler(lambda: ran.append(1), 10)
        started = time.process_time()
        for number in range(images):
            passage(queue, 1 + number)
        return len(ran) / images, (time.process_time() - started) / images


def test_the_work_for_one_image_does_not_grow_with_the_queue(tmp_path):
    for name, finished, waiting in (("young", 1_000, 50), ("old", 400_000, 50), ("full", 1_000, 4_000)):
        fill(tmp_path / name, finished, waiting)
    instructions, seconds = work(tmp_path / "young")
    assert instructions > 10
    for name in ("old", "full"):
        more_instructions, more_seconds = work(tmp_path / name)
        assert more_instructions <= 1.2 * instructions
        assert more_seconds <= 3 * seconds  # coarse, for busy machines: a count of all rows takes 30 times as long


def test_a_finished_image_leaves_a_hash_and_nothing_else(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        queue.delivered(scored(queue, "1.2.3.4.5.6"))
        queue.skip("1.2.3.4.5.7")
        assert queue.knows("1.2.3.4.5.6")
        assert queue.knows("1.2.3.4.5.7")
        rows = queue._database.execute("SELECT * FROM image ORDER BY state").fetchall()
        assert [row[1:] for row in rows] == [("delivered", *[None] * 7), ("skipped", *[None] * 7)]
    fill(tmp_path / "old", finished=20_000)
    assert (tmp_path / "old" / "queue.sqlite").stat().st_size < 20_000 * 100


WITHOUT_FCNTL = """
import sys, types
from pathlib import Path
sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=lambda *_: None, LK_NBLCK=0)
import pydicom.dataset, uuid, sqlite3
sys.platform = "win32"
from covidcxr.dicom.node.queue import Queue
with Queue(Path(sys.argv[1]), "brightness@0") as queue:
    print(queue.add("1.2", b"image"))
"""


def test_a_queue_works_without_fcntl(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"], done.stderr


KILLED = """
import os, sys
from pathlib import Path
from covidcxr.dicom.node.queue import Queue
made = Queue(Path(sys.argv[1]), "brightness@0")
name, count = sys.argv[2], int(sys.argv[3])
real = getattr(os, name)
def kill(*args):
    global count
    count -= 1
    if count < 0:
        os.kill(os.getpid(), 9)
    return real(*args)
setattr(os, name, kill)
for number in range(3):
    made.add(f"1.{number}", b"image" * 1000)
    print(number, flush=True)
"""


@pytest.mark.parametrize(
    ("name", "count", "whole"),
    [("fsync", 0, 0), ("fsync", 1, 0), ("fsync", 2, 1), ("replace", 0, 0), ("replace", 1, 1)],
)
def test_what_was_acknowledged_before_a_kill_is_there_and_whole(name, count, whole, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, name, str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    acknowledged = done.stdout.split()
    assert len(acknowledged) == whole
    with Queue(tmp_path, MODEL) as queue:
        assert queue.counts()[State.RECEIVED] == whole
        assert len(files(tmp_path)) == whole
        for number in acknowledged:
            job = queue.next_received()
            assert (job.instance, queue.read(job)) == (f"1.{number}", b"image" * 1000)
            queue.drop(job, State.FAILED)
