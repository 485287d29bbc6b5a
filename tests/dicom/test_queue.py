import io
import signal
import subprocess
import sys
import threading

import pytest

from covidcxr.dicom.node.queue import LONGEST_PAUSE_S, Queue, QueueError, State, pause_after
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
        queue.drop(job, State.FAILED, "broken")
        assert not queue.add("1.2", b"third")
        queue.leave_alone("1.2", "again")
        assert queue.counts() == {state: int(state is State.FAILED) for state in State}
        assert files(tmp_path) == []


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
    with Queue(tmp_path, MODEL), pytest.raises(QueueError, match="no other process"):
        Queue(tmp_path, MODEL)
    with Queue(tmp_path, MODEL):
        pass


def test_pauses_grow_to_a_limit_and_a_pause_holds_nobody_else_up(tmp_path):
    with Queue(tmp_path, MODEL) as queue:
        first, _ = scored(queue, "1.1"), scored(queue, "1.2")
        pauses = [queue.postpone(first, now=1000) for _ in range(12)]
        assert pauses[:3] == [1, 2, 4]
        assert pauses[-1] == LONGEST_PAUSE_S
        assert instances(queue.due(now=1001, limit=9)) == ["1.2"]
        assert instances(queue.due(now=1001 + LONGEST_PAUSE_S, limit=9)) == ["1.1", "1.2"]
        assert instances(queue.due(now=1001 + LONGEST_PAUSE_S, limit=1)) == ["1.1"]


def test_pauses_hold_for_months():
    assert [pause_after(failures) for failures in (1, 2, 9, 10, 100_000)] == [1, 2, 256, 300, 300]


def test_tries_are_counted_across_starts(tmp_path):
    for expected in (1, 2, 3):
        with Queue(tmp_path, MODEL) as queue:
            queue.add("1.2", b"image")
            assert queue.next_received().tries == expected


def test_only_the_owner_can_read_the_folders(tmp_path):
    with Queue(tmp_path / "queue", MODEL):
        for name in ("received", "results"):
            assert (tmp_path / "queue" / name).stat().st_mode & 0o077 == 0


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
            queue.drop(job, State.FAILED, "done")
