"""TLS for DICOM (PS3.15 annex B): version 1.2 or later, with certificates on both sides if an authority is given."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidcxr.errors import CovidCxrError


class TlsError(CovidCxrError):
    """A key or certificate is unusable."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """PEM files for TLS.

    Attributes:
        certificate: Certificate of this node, with the chain to its authority.
        key: Its private key.
        authority: Authority that must have signed the certificates of peers. None accepts callers without a
            certificate, and calls peers with a certificate of any authority that this machine trusts.
    """

    certificate: Path
    key: Path
    authority: Path | None

    def server(self) -> ssl.SSLContext:
        """Return the TLS context for receiving.

        Raises:
            TlsError: A file is missing or invalid.
        """
        context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        if self.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> ssl.SSLContext:
        """Return the TLS context for sending; the peer's certificate must be valid for its host name.

        Raises:
            TlsError: A file is missing or invalid.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._load(context)
        if not self.authority:
            context.load_default_certs()
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
    """Postpones the handshake to the first read, in the thread of the connection.

    pynetdicom would do it in the one thread that accepts connections, where a silent caller blocks all others.
    """

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401 - passed on
        return super().wrap_socket(*args, **{**kwargs, "do_handshake_on_connect": False})
