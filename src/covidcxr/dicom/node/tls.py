"""TLS for DICOM (PS3.15 annex B): version 1.2 or later, both sides with certificates where an authority is named."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidcxr.errors import CovidCxrError


class TlsError(CovidCxrError):
    """A key or certificate cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """PEM files.

    Attributes:
        certificate: Our own, with the chain to its authority.
        key: Its private key.
        authority: Of the certificates that peers must show; None accepts callers without any, and for our own calls
            trusts the authorities of this machine.
    """

    certificate: Path
    key: Path
    authority: Path | None

    def server(self) -> ssl.SSLContext:
        """Return how to receive.

        Raises:
            TlsError: A file is missing or not what it should be.
        """
        context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        if self.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> ssl.SSLContext:
        """Return how to call; the peer's certificate must be valid and bear its host name.

        Raises:
            TlsError: A file is missing or not what it should be.
        """
        context = ssl.create_default_context()
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.authority:
                context.load_verify_locations(self.authority)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.certificate, self.key, self.authority) if path)
            raise TlsError(f"Expected PEM files for TLS. Received {files}: {error.strerror or error}.") from error


class _LateHandshake(ssl.SSLContext):
    """Shakes hands when the first byte is read, in the thread of the connection.

    pynetdicom would do so in the only thread that accepts connections, where one silent caller keeps all others out.
    """

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401 - passed on
        return super().wrap_socket(*args, **{**kwargs, "do_handshake_on_connect": False})
