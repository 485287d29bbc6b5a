import io
import itertools
import logging
import os
import random
import threading
from contextlib import contextmanager

import pytest

from covidcxr.dicom.node.queue import MAX_RETRY_DELAY_S, Queue, State
from covidcxr.dicom.node.work import BATCH, MAX_ATTEMPTS, PeerError, QueueScorer, ResultSender, run
from covidcxr.prediction.gate import SMALLEST_SIDE
from support.dicom_node import CHEST, NAME, PATIENT_ID, chest

FUZZED = int(os.environ.get("COVIDCXR_DICOM_FUZZED", "60"))


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path, "brightness@0") as made:
        yield made


def add(queue, ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    queue.add(ds.SOPInstanceUID, buffer.getvalue())
    return buffer.getvalue()


def said(caplog):
    """What our own loggers said; the node writes nothing of the libraries' (test_node.py)."""
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("covidcxr"))


class Archive:
    """A peer that can be down or refuse files."""

    def __init__(self):
        self.down = False
        self.refused = ()
        self.got = []
        self.connections = 0

    @contextmanager
    def connect(self):
        self.connections += 1
        if self.down:
            raise PeerError("ARCHIVE is down")
        yield self.take

    def take(self, path):
        if any(path.name.startswith(job.name) for job in self.refused):
            return False
        self.got.append(path.name)
        return True


def test_an_image_is_scored(queue, predictor, caplog):
    caplog.set_level(logging.INFO)
    add(queue, chest())
    scorer = QueueScorer(queue, predictor)
    assert scorer.step()
    assert not scorer.step()
    (job,) = queue.due(now=0, limit=9)
    assert len(queue.results(job)) == 3
    assert "scored: 2.25.1001: 3 results" in said(caplog)


def test_what_the_model_takes_for_no_chest_is_skipped(queue, predictor, caplog):
    caplog.set_level(logging.INFO)
    small = CHEST[: SMALLEST_SIDE - 1, : SMALLEST_SIDE - 1]
    add(queue, chest(grey=small))
    assert QueueScorer(queue, predictor).step()
    assert queue.counts()[State.SKIPPED] == 1
    assert queue.due(now=0, limit=9) == []
    assert "too_small" in said(caplog)


def test_a_broken_image_is_given_up_and_the_next_is_scored(queue, predictor, caplog):
    add(queue, chest(1, PixelData=b"\0\0", PhotometricInterpretation="GEHEIM GERDA"))
    add(queue, chest(2))
    scorer = QueueScorer(queue, predictor)
    assert scorer.step()
    assert scorer.step()
    assert queue.counts()[State.FAILED] == 1
    assert [job.instance for job in queue.due(now=0, limit=9)] == ["2.25.1002"]
    assert "failed: 2.25.1001" in said(caplog)
    assert "GEHEIM" not in said(caplog)


def test_a_full_disk_fails_no_image(queue, predictor, monkeypatch, caplog):
    add(queue, chest(1))
    scorer = QueueScorer(queue, predictor)
    finish = queue.finish

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue, "finish", full)
    for _ in range(2 * MAX_ATTEMPTS):
        with pytest.raises(OSError, match="No space"):
            scorer.step()
    monkeypatch.setattr(queue, "finish", finish)
    assert scorer.step()
    assert queue.counts()[State.SCORED] == 1


def test_an_image_that_ends_the_process_again_and_again_is_given_up(queue, predictor, caplog):
    add(queue, chest(1))
    for _ in range(MAX_ATTEMPTS):
        queue.next_received()  # and the process dies
    assert QueueScorer(queue, predictor).step()
    assert queue.counts()[State.FAILED] == 1
    assert "the process ended" in said(caplog)


def test_results_wait_for_a_peer_that_is_down_and_are_sent_once(queue, predictor, monkeypatch):
    now = 1e9
    monkeypatch.setattr("covidcxr.dicom.node.work.time.time", lambda: now)
    archive = Archive()
    sender, scorer = ResultSender(queue, archive), QueueScorer(queue, predictor)
    for number in range(3):
        add(queue, chest(number))
        scorer.step()
    archive.down = True
    moments = []
    for _ in range(2000):
        before = archive.connections
        sender.step()
        if archive.connections > before:
            moments.append(now - 1e9)
        now += 0.5
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) <= MAX_RETRY_DELAY_S
    archive.down = False
    now += MAX_RETRY_DELAY_S
    assert sender.step()
    assert not sender.step()
    assert len(archive.got) == len(set(archive.got)) == 9
    assert queue.counts()[State.DELIVERED] == 3


def test_a_refused_result_comes_again_and_holds_nobody_up(queue, predictor, monkeypatch):
    now = 1e9
    monkeypatch.setattr("covidcxr.dicom.node.work.time.time", lambda: now)
    archive = Archive()
    sender, scorer = ResultSender(queue, archive), QueueScorer(queue, predictor)
    for number in range(2):
        add(queue, chest(number))
        scorer.step()
    archive.refused = queue.due(now=now, limit=1)
    sender.step()
    assert queue.counts()[State.DELIVERED] == 1
    assert not sender.step()
    archive.refused, now = (), now + 10
    sender.step()
    assert queue.counts()[State.DELIVERED] == 2


def test_many_results_share_an_association(queue):
    for number in range(BATCH + 1):
        queue.add(f"1.{number}", b"image")
        queue.finish(queue.next_received(), [chest()])
    archive = Archive()
    sender = ResultSender(queue, archive)
    assert sender.step()
    assert sender.step()
    assert archive.connections == 2
    assert len(archive.got) == BATCH + 1


def test_an_error_does_not_end_the_work(monkeypatch, caplog):
    monkeypatch.setattr("covidcxr.dicom.node.work.AFTER_ERROR_S", 0.01)
    stop, calls = threading.Event(), []

    def step():
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        raise OSError(f"no space left for {NAME}")

    run(step, stop)
    assert len(calls) == 3
    assert "OSError" in said(caplog)
    assert NAME not in said(caplog)


@pytest.mark.filterwarnings("ignore")  # as in the node: a warning about a broken file is not what stops it
def test_fuzzed_images_are_scored_or_given_up(queue, predictor, caplog):
    caplog.set_level(logging.INFO, "covidcxr")
    scorer = QueueScorer(queue, predictor)
    original = chest(grey=CHEST[:104, :104])
    buffer = io.BytesIO()
    original.save_as(buffer, enforce_file_format=True)
    header = buffer.getvalue().index(b"\xe0\x7f\x10\x00")
    for seed in range(FUZZED):
        chance = random.Random(seed)
        data = bytearray(buffer.getvalue())
        for _ in range(chance.choice([1, 2, 8, 30])):
            data[chance.randrange(132, header + 12)] = chance.randrange(256)
        queue.add(f"1.{seed}", bytes(data))
        assert scorer.step()
    counts = queue.counts()
    assert counts[State.RECEIVED] == 0
    assert counts[State.SCORED] + counts[State.SKIPPED] + counts[State.FAILED] == FUZZED
    assert min(counts[State.SCORED], counts[State.FAILED]) > FUZZED / 10
    for secret in (*NAME.split("^"), PATIENT_ID):
        assert secret not in said(caplog)
