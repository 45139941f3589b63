"""TLS towards the upstream over memory buffers: cheaper than the event loop's own, and sessions are resumed."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from proxy.definitions.models import Tls

_RECORD: Final = 16 * 1024  # OpenSSL hands out one record at a time, and none is longer (RFC 8446 §5.1)


class TlsEngine:
    """One TLS session; bytes of the wire in, bytes of the application out, and the other way round."""

    __slots__ = ("_in", "_object", "_out", "ended", "ready")

    def __init__(self, context: ssl.SSLContext, server_name: str, session: ssl.SSLSession | None) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._in, self._out, server_side=False, server_hostname=server_name, session=session
        )
        self.ready = False
        self.ended = False  # the peer said close_notify

    def handshake(self, data: bytes) -> bytes:
        """Take bytes of the peer's handshake (none to begin with); returns what to send. Sets `ready`.

        Raises `Refusal`: tls_certificate_error or tls_protocol_error.
        """
        if data:
            self._in.write(data)
        try:
            self._object.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            raise Refusal(
                PROBLEMS["tls_certificate_error"], f"the upstream's certificate: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise Refusal(
                PROBLEMS["tls_protocol_error"], f"the TLS handshake failed: {error.reason or 'unknown'}"
            ) from error
        return self._out.read()

    def receive(self, data: bytes) -> bytes:
        """Return the plain bytes within `data`; sets `ended` at close_notify. Raises `Refusal` (tls_protocol_error)."""
        incoming = self._in
        incoming.write(data)
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(_RECORD):
                pieces.append(piece)
                # OpenSSL takes no more from the buffer than this record needs. To ask whether there is another one, and
                # have that raise, would cost as much as reading this one.
                if not incoming.pending:
                    break
            else:
                self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise Refusal(PROBLEMS["tls_protocol_error"], f"TLS failed: {error.reason or 'unknown'}") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def encrypt(self, data: bytes) -> bytes:
        """Return the bytes for the wire."""
        written = self._object.write(data) if data else 0
        while written < len(data):
            written += self._object.write(memoryview(data)[written:])
        return self._out.read()

    def pending(self) -> bytes:
        """Return what TLS itself wants to send (a key update, an alert)."""
        return self._out.read() if self._out.pending else b""

    def goodbye(self) -> bytes:
        """Return the close_notify alert."""
        with suppress(ssl.SSLError):
            self._object.unwrap()
        return self._out.read()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later handshake can resume."""
        return self._object.session


def client_context(tls: Tls, *, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """Return the context for a connection's upstream: TLS ≥ 1.2, verified against the system's roots and `ca`."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(alpn)
    if tls.ca is not None:
        context.load_verify_locations(cadata=tls.ca)
    if tls.client_cert is not None:
        load_client_certificate(context, tls)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load_client_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """Give the context the client certificate and key of `tls`."""
    key = tls.client_key.reveal() if tls.client_key is not None else ""
    # The ssl module loads them from a file only; this one is in memory, so that the key is never on a disk.
    with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "w", encoding="ascii") as file:
        file.write(f"{tls.client_cert or ''}\n{key}")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
