"""Peer that receives results by C-STORE."""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.status import code_to_category

from covidcxr.dicom.node.work import PeerError

RESULT_CLASSES = (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)
RESULT_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
TIMEOUT_S = 60.0
"""Time in which the peer must answer."""

_ADDRESS = re.compile(r"(?P<title>[^@\\]{1,16})@(?P<host>.+):(?P<port>\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class StorePeer:
    """Application entity that receives results.

    Attributes:
        title: Its application entity title.
        host: Its host name or address.
        port: Its TCP port.
        calling: Title of this node.
        tls: TLS context; None for no encryption.
    """

    title: str
    host: str
    port: int
    calling: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, address: str, *, calling: str, tls: ssl.SSLContext | None = None) -> Self:
        """Read AET@HOST:PORT.

        Raises:
            ValueError: The address has another form.
        """
        found = _ADDRESS.fullmatch(address)
        if not found or not 0 < int(found["port"]) < 65536:
            raise ValueError(f"Expected a peer as AET@HOST:PORT. Received {address!r}.")
        host = found["host"].strip("[]")
        return cls(title=found["title"], host=host, port=int(found["port"]), calling=calling, tls=tls)

    @contextmanager
    def connect(self) -> Iterator[Callable[[Path], bool]]:
        """Open an association; yield a function that sends one file and tells whether the peer accepted it.

        Raises:
            PeerError: The peer cannot be reached, rejects the association or aborts it.
        """
        entity = AE(ae_title=self.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = TIMEOUT_S
        for sop_class in RESULT_CLASSES:
            entity.add_requested_context(sop_class, list(RESULT_SYNTAXES))
        tls = (self.tls, self.host) if self.tls else None
        association = entity.associate(self.host, self.port, ae_title=self.title, tls_args=tls)
        if not association.is_established:
            how = "rejected the association" if association.is_rejected else "cannot be reached"
            raise PeerError(f"{self.title} at {self.host}:{self.port} {how}")

        def send(path: Path) -> bool:
            try:
                status = association.send_c_store(path)
            except (ValueError, RuntimeError) as error:  # no context for this class, or the association has ended
                if association.is_established:
                    return False
                raise PeerError(f"{self.title} aborted the association") from error
            if "Status" not in status:
                raise PeerError(f"{self.title} did not answer")
            return code_to_category(status.Status) in ("Success", "Warning")

        try:
            yield send
        finally:
            if association.is_established:
                association.release()
