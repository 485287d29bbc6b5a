"""What a node is put through, by the tests and by benchmarks/dicom_node.py: kills under load, and messages gone wrong.

Each run fails where the node loses, doubles or breaks anything, and returns its figures.
"""

import hashlib
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
from pynetdicom import AE, evt

from covidcxr.dicom.node.peer import RESULT_CLASSES
from support.dicom_node import CHEST, chest, echo, node, save, send
from support.fuzz import TO_SCORE, fuzz
from support.ports import free_port
from support.processes import eventually

KILLED_AT = (1 / 4, 2 / 3)
"""Shares of the images that the node has received when it is killed."""
RESULTS = 3
"""Objects about one image."""


@contextmanager
def recorder(port):
    """Run an archive that notes every object it gets: SOPInstanceUID to (hash, image of a report) of each arrival."""
    got, lock = defaultdict(list), threading.Lock()

    def store(event):
        content, ds = event.encoded_dataset(include_meta=False), event.dataset
        with lock:
            got[str(ds.SOPInstanceUID)].append((hashlib.sha256(content).hexdigest(), image_of(ds)))
        return 0x0000

    entity = AE("ARCHIVE")
    for sop_class in RESULT_CLASSES:
        entity.add_supported_context(sop_class)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield got
    finally:
        server.shutdown()


def image_of(result):
    """SOPInstanceUID of the image that a report is about; None for other results."""
    if result.Modality != "SR":
        return None
    series = result.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    return str(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def peak_mb(pid):
    """Most memory that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def killed_twice(folder, model, *, images, associations, grey=CHEST):
    """Send images while the node is killed twice; every result must arrive, once or as the very same object again.

    Senders do what modalities do: what was not acknowledged is sent again, whole batches of it.
    """
    port, to = free_port(), free_port()
    queue, log = folder / "queue", folder / "queue.log"
    files = [save(chest(number, grey=grey), folder / f"{number}.dcm") for number in range(images)]
    forward = ("--forward", f"ARCHIVE@127.0.0.1:{to}")

    def deliver(share):
        while send(port, *share).returncode:
            time.sleep(0.3)

    def received():
        return log.read_text().count("received: ") if log.exists() else 0

    started = time.monotonic()
    with recorder(to) as got, ThreadPoolExecutor(associations) as pool:
        senders = [pool.submit(deliver, files[start::associations]) for start in range(associations)]
        for share in KILLED_AT:
            with node(queue, model, port, *forward) as server:
                eventually(lambda s=share: received() >= s * images, seconds=120)
                server.kill()
                server.wait()
        with node(queue, model, port, *forward):
            for sender in senders:
                sender.result(timeout=240)
            eventually(lambda: len(got) == RESULTS * images, seconds=240)
            seconds = time.monotonic() - started
            time.sleep(1)  # nothing more comes
    assert len(got) == RESULTS * images
    reported = [image for ((_, image), *_) in got.values() if image]
    assert sorted(reported) == sorted(str(chest(number).SOPInstanceUID) for number in range(images))
    for arrivals in got.values():  # sent again after a kill between sending and noting it: the same object
        assert len({digest for digest, _ in arrivals}) == 1
    return {
        "images": images,
        "associations": associations,
        "kills": len(KILLED_AT),
        "reports": len(reported),
        "objects": len(got),
        "sent_again": sum(len(arrivals) - 1 for arrivals in got.values()),
        "seconds": seconds,
    }


def fuzzed(folder, model, *, messages, grey=CHEST):
    """Send mutated data sets and PDUs; the node must stay up, answer, score a good image and close every connection."""
    port, log, good = free_port(), folder / "queue.log", chest(1, grey=grey)
    with node(folder / "queue", model, port, "--associations", "32") as server:
        started = time.monotonic()
        answered = fuzz(port, messages)
        seconds = time.monotonic() - started
        assert server.poll() is None
        assert send(port, save(good, folder / "good.dcm")).returncode == 0
        eventually(lambda: f"scored: {good.SOPInstanceUID}:" in log.read_text(), seconds=300)
        assert echo(port)
        eventually(lambda: {c.status for c in psutil.Process(server.pid).net_connections("tcp")} == {"LISTEN"})
        assert server.poll() is None
        peak = peak_mb(server.pid)
    text = log.read_text()
    assert "Traceback" not in text
    assert "Geheim" not in text
    assert answered > messages / 4
    assert text.count("received: ") > messages / TO_SCORE / 2
    words = (
        "INFO received",
        "INFO scored",
        "WARNING failed",
        "INFO skipped",
        "WARNING refused",
        "ERROR a thread ended",
    )
    found = {word.partition(" ")[2].replace(" ", "_"): text.count(f" {word}: ") for word in words}
    return {"messages": messages, "answered": answered, "seconds": seconds, "peak_mb": peak} | found
