"""Receiving application entity: C-ECHO and C-STORE."""

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

from covidcxr.dicom.node.eligibility import SOP_CLASSES, skip_reason
from covidcxr.dicom.node.logs import is_uid, printable_title
from covidcxr.dicom.node.queue import Queue
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
"""All but the deflated one, in which a small message could expand to all of the memory."""
SUCCESS, NO_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
STATUSES: Final = MappingProxyType(
    {
        SUCCESS: "The image is safe on disk, is known, or is not to be scored.",
        NO_RESOURCES: "The disk is full, or more images wait than --backlog allows: send again later.",
        MISMATCH: "Command and data set differ in SOP class or instance UID, or the study or series UID is missing.",
        NOT_UNDERSTOOD: "The data set cannot be read.",
    }
)
"""Status codes of PS3.4 table B.2-1, and when the node answers them."""
NETWORK_TIMEOUT_S: Final = 60.0
ACSE_TIMEOUT_S: Final = 15.0
"""Time in which a new connection must request an association."""
MAX_PDU_BYTES: Final = 2**17
"""Announced to callers; longer PDUs are not read."""
SPARE_CONNECTIONS: Final = 8
"""Connections above the limit of associations, so that surplus callers get a rejection."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Settings of the receiver.

    Attributes:
        ae_title: Application entity title of the node.
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        allow: Titles of the application entities that may call; empty for all.
        tls: TLS context; None for no encryption.
        associations: Maximum of open associations.
        message_bytes: Maximum size of one message, that is of one image.
        images_per_second: Rate of all callers together; faster callers wait for their answers. None for no limit.
        backlog: Maximum of images that wait to be scored; with more, callers are told to send again later.
    """

    ae_title: str = "COVIDCXR"
    host: str = "127.0.0.1"
    port: int = 11112
    allow: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    associations: int = 16
    message_bytes: int = 200_000_000
    images_per_second: float | None = None
    backlog: int = 10_000


class Node:
    """Receives images into a queue."""

    def __init__(self, queue: Queue, settings: NodeSettings) -> None:
        self._queue = queue
        self._settings = settings
        self._rate = RateLimiter(settings.images_per_second)
        self._server: ThreadedAssociationServer | None = None
        self._entity = AE(ae_title=settings.ae_title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(settings.allow)
        self._entity.maximum_associations = settings.associations
        self._entity.maximum_pdu_size = MAX_PDU_BYTES
        self._entity.network_timeout = self._entity.dimse_timeout = NETWORK_TIMEOUT_S
        self._entity.acse_timeout = ACSE_TIMEOUT_S
        self._entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            self._entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))

    def start(self) -> int:
        """Listen in background threads; return the port, a free one for 0.

        Raises:
            CovidCxrError: The port is taken or not permitted, or the address does not belong to this machine.
        """
        settings = self._settings
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, _closed),
            (evt.EVT_DIMSE_RECV, lambda event: setattr(event.assoc.dul.socket, "message_bytes", 0)),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_ACCEPTED, self._log, ["accepted"]),
            (evt.EVT_REJECTED, self._log, ["rejected"]),
            (evt.EVT_ABORTED, self._log, ["aborted"]),
        ]
        try:
            self._server = self._entity.start_server(
                (settings.host, settings.port), block=False, evt_handlers=handlers, ssl_context=settings.tls
            )
        except OSError as error:
            raise CovidCxrError(f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}.") from error
        assert self._server is not None
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """End all associations and stop listening."""
        self._entity.shutdown()

    def _log(self, event: evt.Event, what: str) -> None:
        requestor = event.assoc.requestor
        logger.info("association %s: %s at %s", what, printable_title(requestor.ae_title), requestor.address)

    def _opened(self, event: evt.Event) -> None:
        """Limit one connection: bytes, time, and number among the others."""
        connection: Any = event.assoc.dul.socket
        assert self._server is not None
        if len(self._server.active_associations) > self._settings.associations + SPARE_CONNECTIONS:
            connection.close()
            return
        connection.socket.settimeout(NETWORK_TIMEOUT_S)
        limit_reading(connection, self._settings.message_bytes)
        close_with_thread(event.assoc)

    def _stored(self, event: evt.Event) -> int:
        """Answer a C-STORE request, with success only if the image is safe on disk or need not be kept."""
        self._rate.wait()
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
            reason = skip_reason(ds)
        except Exception:  # pydicom raises anything for bytes that violate the standard
            return self._refuse(event, NOT_UNDERSTOOD)
        try:
            if reason:
                self._queue.skip(instance)
                logger.info("skipped: %s: %s", instance, reason)
                return SUCCESS
            return self._keep(event, instance, content)
        except Exception:  # for example a full disk
            return self._refuse(event, NO_RESOURCES)

    def _keep(self, event: evt.Event, instance: str, content: bytes) -> int:
        if self._queue.knows(instance):
            logger.info("known: %s", instance)
            return SUCCESS
        if self._queue.backlog >= self._settings.backlog:
            return self._refuse(event, NO_RESOURCES)
        if self._queue.add(instance, content):
            logger.info("received: %s from %s", instance, printable_title(event.assoc.requestor.ae_title))
        return SUCCESS

    def _refuse(self, event: evt.Event, status: int) -> int:
        caller = printable_title(event.assoc.requestor.ae_title)
        logger.warning("refused: an image from %s: %04X: %s", caller, status, STATUSES[status])
        return status


def _closed(event: evt.Event) -> None:
    """Free the place of a connection that closed before its association request, for which pynetdicom would wait."""
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)  # what a timeout would put there


class RateLimiter:
    """Spaces images evenly in time.

    Args:
        per_second: Rate; None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Block until the caller's turn."""
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - time.monotonic()))


def close_with_thread(association: Any) -> None:  # noqa: ANN401 - pynetdicom's own thread
    """Close the connection of a pynetdicom association when its thread ends, even by an error.

    Otherwise it would stay open, with a thread that reads it, without counting as an association.

    Args:
        association: Association that has not started.
    """
    run, connection = association.run, association.dul.socket

    def run_and_close() -> None:
        try:
            run()
        finally:
            association.dul.kill_dul()
            association.dul.join()  # a read ends NETWORK_TIMEOUT_S after the last byte
            connection.close()

    association.run = run_and_close


def limit_reading(connection: Any, limit: int) -> None:  # noqa: ANN401 - pynetdicom's own socket
    """Close a pynetdicom connection instead of reading a PDU or message that is too long.

    pynetdicom itself reads a PDU of any announced length, up to 4 GB, and any number of PDUs into memory.

    Args:
        connection: AssociationSocket; its attribute ``message_bytes`` is set to 0 after each complete message.
        limit: Largest message in bytes.
    """
    read = connection.recv
    connection.message_bytes = 0

    def recv(count: int) -> bytearray:
        if connection.message_bytes > limit:
            raise OSError("aborted before")
        connection.message_bytes += count
        if count > 2 * MAX_PDU_BYTES or connection.message_bytes > limit:
            logger.warning("aborted: a message of more than %d bytes, or a PDU of %d", limit, count)
            connection.message_bytes = limit + 1  # the next bytes would be the middle of a PDU
            raise OSError("message too long")
        data: bytearray = read(count)
        return data

    connection.recv = recv
