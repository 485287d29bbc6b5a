"""The application entity that receives: C-ECHO and C-STORE."""

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any, Final

import pydicom
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from covidcxr.dicom.node.eligibility import SOP_CLASSES, refusal
from covidcxr.dicom.node.logs import is_uid, title
from covidcxr.dicom.node.queue import Queue, State
from covidcxr.dicom.results.header import IDENTITY
from covidcxr.errors import CovidCxrError

TRANSFER_SYNTAXES: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
"""Not the deflated one: a small message could unpack to all of the memory."""
SUCCESS, NO_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
STATUSES: Final = MappingProxyType(
    {
        SUCCESS: "The image is safe on disk, was so before, or is none to score.",
        NO_RESOURCES: "The disk is full or the queue longer than --backlog: send again later.",
        MISMATCH: "SOP class or instance differ between command and data set, or study or series are missing.",
        NOT_UNDERSTOOD: "The data set cannot be read.",
    }
)
"""PS3.4 table B.2-1, and what each means here."""
NETWORK_TIMEOUT_S: Final = 60.0
SILENCE_S: Final = 15.0
"""Until a connection must have asked for an association."""
LARGEST_PDU: Final = 2**17
"""Bytes. Announced to callers; what is longer is not read."""
SPARE_CONNECTIONS: Final = 8
"""Connections above the limit of associations, so that those who ask too much are told so."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What callers may ask of the node.

    Attributes:
        associations: At a time.
        message_bytes: Of one message, that is of one image.
        images_per_second: All callers together; faster ones wait for their answers. None for no limit.
        backlog: Images that wait to be scored; with more, callers are asked to send again later.
    """

    associations: int = 16
    message_bytes: int = 200_000_000
    images_per_second: float | None = None
    backlog: int = 10_000


class Node:
    """Receives images into a queue.

    Attributes:
        server: pynetdicom's server, once started.
    """

    def __init__(
        self, queue: Queue, ae_title: str, *, allow: tuple[str, ...] = (), limits: Limits | None = None
    ) -> None:
        self._queue = queue
        self._limits = limits or Limits()
        self._pace = Pace(self._limits.images_per_second)
        self._entity = AE(ae_title=ae_title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(allow)
        self._entity.maximum_associations = self._limits.associations
        self._entity.maximum_pdu_size = LARGEST_PDU
        self._entity.network_timeout = self._entity.dimse_timeout = NETWORK_TIMEOUT_S
        self._entity.acse_timeout = SILENCE_S
        self._entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            self._entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        self.server: ThreadedAssociationServer | None = None

    def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, in threads of their own; return the port, which is a free one for 0.

        Raises:
            CovidCxrError: The port is taken or not allowed, or the host is not this machine's.
        """
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, _closed),
            (evt.EVT_DIMSE_RECV, lambda event: setattr(event.assoc.dul.socket, "message_bytes", 0)),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_ACCEPTED, self._log, ["accepted"]),
            (evt.EVT_REJECTED, self._log, ["rejected"]),
            (evt.EVT_ABORTED, self._log, ["broken off"]),
        ]
        try:
            self.server = self._entity.start_server((host, port), block=False, evt_handlers=handlers, ssl_context=tls)
        except OSError as error:
            raise CovidCxrError(f"Expected to listen on {host}, port {port}. Received: {error.strerror}.") from error
        assert self.server is not None
        return int(self.server.server_address[1])

    def stop(self) -> None:
        """End all associations and stop listening."""
        self._entity.shutdown()

    def _log(self, event: evt.Event, what: str) -> None:
        requestor = event.assoc.requestor
        logger.info("association %s: %s at %s", what, title(requestor.ae_title), requestor.address)

    def _opened(self, event: evt.Event) -> None:
        """Bound what one connection can take: bytes, time, and a place among the others."""
        connection: Any = event.assoc.dul.socket
        assert self.server is not None
        if len(self.server.active_associations) > self._limits.associations + SPARE_CONNECTIONS:
            connection.close()
            return
        connection.socket.settimeout(NETWORK_TIMEOUT_S)
        bound_reading(connection, self._limits.message_bytes)
        close_at_the_end(event.assoc)

    def _stored(self, event: evt.Event) -> int:
        """Answer a C-STORE request: success only for what is safe on disk or needs no keeping."""
        self._pace.wait()
        request: Any = event.request
        instance = str(request.AffectedSOPInstanceUID)
        try:
            content = event.encoded_dataset()
            ds = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
            matches = is_uid(instance) and (ds.SOPClassUID, ds.SOPInstanceUID) == (
                request.AffectedSOPClassUID,
                instance,
            )
            if not (matches and all(is_uid(str(ds.get(k, ""))) for k in IDENTITY)):
                return self._refuse(event, MISMATCH)
            reason = refusal(ds)
        except Exception:  # whatever pydicom raises on bytes that break the standard
            return self._refuse(event, NOT_UNDERSTOOD)
        try:
            if reason:
                self._queue.leave_alone(instance, reason)
                logger.info("left alone: %s: %s", instance, reason)
                return SUCCESS
            return self._keep(event, instance, content)
        except Exception:  # the disk is full, the database is not to be written
            return self._refuse(event, NO_RESOURCES)

    def _keep(self, event: evt.Event, instance: str, content: bytes) -> int:
        if self._queue.knows(instance):
            logger.info("known: %s", instance)
            return SUCCESS
        if self._queue.counts()[State.RECEIVED] >= self._limits.backlog:
            return self._refuse(event, NO_RESOURCES)
        added = self._queue.add(instance, content)
        logger.info("received: %s from %s", instance, title(event.assoc.requestor.ae_title)) if added else None
        return SUCCESS

    def _refuse(self, event: evt.Event, status: int) -> int:
        logger.warning(
            "refused: an image from %s: %04X: %s", title(event.assoc.requestor.ae_title), status, STATUSES[status]
        )
        return status


def _closed(event: evt.Event) -> None:
    """Free the place of a connection that closed before it asked for an association; pynetdicom would wait for that."""
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)  # what the wait ends with when its time is over


class Pace:
    """Spreads images evenly in time: each waits for its turn."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - time.monotonic()))


def close_at_the_end(association: Any) -> None:  # noqa: ANN401 - pynetdicom's own thread
    """Let the connection of an association of pynetdicom end with its thread, also where an error ends that.

    It would stay open, with a thread that reads it, and count among no associations.

    Args:
        association: An Association that has not started.
    """
    run, connection = association.run, association.dul.socket

    def whole() -> None:
        try:
            run()
        finally:
            association.dul.kill_dul()
            association.dul.join()  # a read ends NETWORK_TIMEOUT_S after the last byte
            connection.close()

    association.run = whole


def bound_reading(connection: Any, most: int) -> None:  # noqa: ANN401 - pynetdicom's own socket
    """Let a connection of pynetdicom end instead of reading a PDU or a message that is too long.

    pynetdicom reads what the length of a PDU says, up to 4 GB, and as many PDUs as come, into memory.

    Args:
        connection: An AssociationSocket; its attribute ``message_bytes`` is set to 0 after each complete message.
        most: Bytes of one message.
    """
    read = connection.recv
    connection.message_bytes = 0

    def recv(count: int) -> bytearray:
        if connection.message_bytes > most:
            raise OSError("broken off before")
        connection.message_bytes += count
        if count > 2 * LARGEST_PDU or connection.message_bytes > most:
            logger.warning("broken off: a message of more than %d bytes, or a PDU of %d", most, count)
            connection.message_bytes = most + 1  # what follows is the middle of a PDU
            raise OSError("message too long")
        data: bytearray = read(count)
        return data

    connection.recv = recv
