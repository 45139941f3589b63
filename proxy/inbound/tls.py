"""TLS towards applications: the context of a listener, and another one in its place for the streams that come later."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxy.definitions.binds import bind_text
from proxy.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.definitions.settings import ListenerTls, ReverseListener


class Exchangeable(ssl.SSLContext):
    """What a bound listener is given for good; each stream gets its TLS from the context that is `current`.

    Loading a certificate into a context that serves would change it in steps, and half of them where one fails.
    """

    current: ssl.SSLContext

    @classmethod
    def of(cls, context: ssl.SSLContext) -> Exchangeable:
        """Return one that begins with `context`."""
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made.current = context
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is that of the ssl module
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin the TLS of one stream, as event loops do it."""
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def server_context(settings: ReverseListener) -> ssl.SSLContext | None:
    """Return the context for what the definitions hold, None without TLS.

    No file is read: what was checked is what is served. Raises `MachineError` for what OpenSSL does not take although
    it passed our check (a key that its policy finds too weak).
    """
    if settings.tls is None:
        return None
    try:
        return _context(settings.tls, settings.auth.client_roots if settings.auth is not None else None)
    except ssl.SSLError as error:
        message = f"{bind_text(settings.bind)}: OpenSSL does not take the certificate or key: {error.reason}"
        raise MachineError("certificate_unusable", message) from error


def _context(tls: ListenerTls, client_roots: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    with _in_memory(f"{tls.chain}\n{tls.private.reveal()}\n") as path:
        context.load_cert_chain(path)
    if client_roots is not None:
        with _in_memory(client_roots) as path:
            context.load_verify_locations(path)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Lend the path of a file that holds `text`: the ssl module wants files, and a key goes onto no disk."""
    with os.fdopen(os.memfd_create("tls", os.MFD_CLOEXEC), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
