"""What a node must survive: being killed, and bytes that are no DICOM. COVIDCXR_DICOM_* make the runs large."""

import hashlib
import io
import logging
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache

import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ

from covidcxr.dicom.peer import RESULT_CLASSES
from dicom.conftest import CHEST, chest, free_port, node, save, send, tool, wait_for

IMAGES = int(os.environ.get("COVIDCXR_DICOM_IMAGES", "16"))
ASSOCIATIONS = int(os.environ.get("COVIDCXR_DICOM_ASSOCIATIONS", "4"))
TO_SCORE = 10
"""Of so many data sets one is a new image, the others come again: reading is what is tried here (see test_work.py)."""
MUTATED = int(os.environ.get("COVIDCXR_DICOM_MUTATED", "120"))

logger = logging.getLogger(__name__)


@contextmanager
def recorder(port):
    """Run an archive that notes every object it gets: SOPInstanceUID to (hash, its image) of each arrival."""
    got, lock = defaultdict(list), threading.Lock()

    def store(event):
        content = event.encoded_dataset(include_meta=False)
        with lock:
            got[str(event.dataset.SOPInstanceUID)].append((hashlib.sha256(content).hexdigest(), event.dataset))
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
    """SOPInstanceUID of the image that a report is about."""
    series = result.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    return str(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def test_killed_twice_under_load_it_loses_nothing_and_doubles_nothing(model_file, tmp_path):
    """Senders do what modalities do: what was not acknowledged is sent again, whole batches of it."""
    port, to = free_port(), free_port()
    folder, log = tmp_path / "queue", tmp_path / "queue.log"
    files = [save(chest(number), tmp_path / f"{number}.dcm") for number in range(IMAGES)]
    forward = ("--forward", f"ARCHIVE@127.0.0.1:{to}")

    def deliver(share):
        while send(port, *share).returncode:
            time.sleep(0.3)

    def count(word):
        return log.read_text().count(word) if log.exists() else 0

    started = time.monotonic()
    with recorder(to) as got, ThreadPoolExecutor(ASSOCIATIONS) as pool:
        senders = [pool.submit(deliver, files[start::ASSOCIATIONS]) for start in range(ASSOCIATIONS)]
        for share in (1 / 4, 2 / 3):
            with node(folder, model_file, port, *forward) as server:
                wait_for(lambda s=share: count("received: ") >= s * IMAGES, seconds=120)
                server.kill()
                server.wait()
        with node(folder, model_file, port, *forward):
            for sender in senders:
                sender.result(timeout=240)
            wait_for(lambda: len(got) == 3 * IMAGES, seconds=240)
            time.sleep(1)
    assert len(got) == 3 * IMAGES
    reports = [arrivals[0][1] for arrivals in got.values() if arrivals[0][1].Modality == "SR"]
    assert sorted(map(image_of, reports)) == sorted(f"2.25.{1000 + number}" for number in range(IMAGES))
    for arrivals in got.values():  # sent again after a kill between sending and noting it: the same object
        assert len({digest for digest, _ in arrivals}) == 1
    again = sum(len(arrivals) - 1 for arrivals in got.values())
    logger.info(
        "%d images on %d associations, killed twice: %d reports, %d objects, %d of them sent again; %.0f s",
        IMAGES, ASSOCIATIONS, len(reports), len(got), again, time.monotonic() - started,
    )  # fmt: skip


# Bytes that are no DICOM.


class Caller:
    """A bare socket that speaks enough of PS3.8 to be let in."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self):
        """Ask for an association; return whether it was accepted."""
        self.send(request())
        return self.receive()[:1] == b"\x02"

    def store(self, instance, content):
        """Send a C-STORE request with this data set; return what comes back, nothing if the connection ends."""
        command = element(0x0000, 0x0002, chest().SOPClassUID.encode() + b"\0" * (len(chest().SOPClassUID) % 2))
        command += element(0x0000, 0x0100, struct.pack("<H", 1)) + element(0x0000, 0x0110, struct.pack("<H", 1))
        command += element(0x0000, 0x0700, struct.pack("<H", 0)) + element(0x0000, 0x0800, struct.pack("<H", 1))
        command += element(0x0000, 0x1000, instance.encode() + b"\0" * (len(instance) % 2))
        command = element(0x0000, 0x0000, struct.pack("<L", len(command))) + command
        self.send(fragment(3, command) + b"".join(pieces(content)))
        return self.receive()

    def send(self, data, *, last=False):
        """Send bytes to a node that may have hung up already."""
        with suppress(OSError):
            self.socket.sendall(data)
            if last:
                self.socket.shutdown(socket.SHUT_WR)

    def receive(self):
        try:
            head = self.socket.recv(6, socket.MSG_WAITALL)
            return head + self.socket.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL) if head[5:] else b""
        except OSError:
            return b""


def element(group, number, value):
    return struct.pack("<HHL", group, number, len(value)) + value


def fragment(header, data):
    """Return a P-DATA-TF PDU with one fragment; header 3: a command, 0: data, 2: the last of them."""
    return struct.pack(">BBLLBB", 4, 0, len(data) + 6, len(data) + 2, 1, header) + data


def pieces(content, size=16_000):
    starts = range(0, max(len(content), 1), size)
    return [fragment(2 if start + size >= len(content) else 0, content[start : start + size]) for start in starts]


@cache
def request():
    """Return an A-ASSOCIATE-RQ PDU for one context, as pynetdicom writes it."""
    entity = AE("FUZZER")
    entity.add_requested_context(chest().SOPClassUID, ExplicitVRLittleEndian)
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        entity.acse_timeout = entity.network_timeout = 0.01
        entity.associate("127.0.0.1", server.getsockname()[1], ae_title="COVIDCXR",
                         evt_handlers=[(evt.EVT_PDU_SENT, lambda event: sent.append(event.pdu))])  # fmt: skip
    return next(pdu.encode() for pdu in sent if isinstance(pdu, A_ASSOCIATE_RQ))


def mutate(data, chance, start=0):
    """Overwrite some bytes, cut the end off, or put bytes in."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 8, 30])):
        changed[chance.randrange(start, len(changed))] = chance.randrange(256)
    if chance.random() < 0.2:
        del changed[chance.randrange(start, len(changed)) :]
    if chance.random() < 0.1:
        place = chance.randrange(start, len(changed) + 1)
        changed[place:place] = chance.randbytes(chance.randrange(1, 64))
    return bytes(changed)


def data_set(instance):
    """Return a small radiograph as it goes over the network, without the header of a file."""
    buffer = io.BytesIO()
    ds = chest(grey=CHEST[:104, :104], SOPInstanceUID=instance)
    pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    whole = buffer.getvalue()
    return whole[whole.index(b"\x08\x00\x05\x00") :]


def fuzz(port, seeds):
    """Half of the seeds mutate a data set, the others what goes around it; return how many requests were answered."""
    answered = 0
    for seed in seeds:
        chance, instance = random.Random(seed), f"2.25.{50_000 + seed // TO_SCORE}"
        with Caller(port) as caller:
            if seed % 2:
                if caller.ask():
                    answered += bool(caller.store(instance, mutate(data_set(instance), chance)))
                continue
            stream = request() if chance.random() < 0.5 else b"".join(pieces(data_set(instance)))
            if stream != request():
                caller.ask()
            caller.send(mutate(stream, chance), last=True)
            answered += bool(caller.receive())
    return answered


def test_bytes_that_are_no_dicom_do_not_end_the_node(model_file, tmp_path):
    request()  # made once, before threads want it
    port, started = free_port(), time.monotonic()
    log = tmp_path / "queue.log"
    with node(tmp_path / "queue", model_file, port, "--associations", "32") as server, ThreadPoolExecutor(4) as pool:
        answered = sum(pool.map(lambda part: fuzz(port, range(part, MUTATED, 4)), range(4)))
        fuzzed = time.monotonic() - started
        assert server.poll() is None
        good = save(chest(1), tmp_path / "good.dcm")
        assert send(port, good).returncode == 0
        wait_for(lambda: "scored: 2.25.1001:" in log.read_text(), seconds=1500)
        assert server.poll() is None
        echo = [tool("echoscu"), "-aec", "COVIDCXR", "127.0.0.1", str(port)]
        assert subprocess.run(echo, check=False).returncode == 0
    text = log.read_text()
    assert "Traceback" not in text
    assert "Geheim" not in text
    logger.info(
        "%d mutated messages, %d answered, %.0f s; received %d, scored %d, not scored %d, refused %d, threads ended %d",
        MUTATED, answered, fuzzed, *(text.count(word) for word in
                                     ("received: ", "INFO scored: ", "not scored: ", "refused: ", "a thread ended")),
    )  # fmt: skip
    assert answered > MUTATED / 4
    assert text.count("received: ") > MUTATED / TO_SCORE / 2
