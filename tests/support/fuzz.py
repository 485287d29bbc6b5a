"""Bytes that are no DICOM, or nearly: mutated data sets, and mutated PDUs around them."""

import io
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ

from support.dicom_node import CHEST, chest

TO_SCORE = 10
"""Of so many messages one holds a new image, the others come again: reading is what is tried (see test_work.py)."""
HEADER = 1000
"""Bytes of a data set or a PDU before the pixels, about."""
CALLERS = 4
"""At a time."""


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


def mutate(data, chance):
    """Overwrite some bytes, cut the end off, or put bytes in; for every other message in its header only."""
    changed = bytearray(data)
    end = chance.choice([len(data), min(len(data), HEADER)])
    for _ in range(chance.choice([1, 2, 8, 30])):
        changed[chance.randrange(end)] = chance.randrange(256)
    if chance.random() < 0.1:
        place = chance.randrange(end + 1)
        changed[place:place] = chance.randbytes(chance.randrange(1, 64))
    if chance.random() < 0.2:
        del changed[chance.randrange(end) :]
    return bytes(changed)


def data_set(instance):
    """Return a small radiograph as it goes over the network, without the header of a file."""
    buffer = io.BytesIO()
    ds = chest(grey=CHEST[:104, :104], SOPInstanceUID=instance)
    pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    whole = buffer.getvalue()
    return whole[whole.index(b"\x08\x00\x05\x00") :]


def fuzz(port, messages):
    """Send so many mutated messages to a node, half of them data sets; return how many it answered."""
    request()  # made once, before threads want it
    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(lambda start: _fuzz(port, range(start, messages, CALLERS)), range(CALLERS)))


def _fuzz(port, seeds):
    """Odd seeds mutate a data set, even ones what goes around it."""
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
