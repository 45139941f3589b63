"""A local authority and clients that trust it, for what is intercepted; and upstreams that speak TLS."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import trustme

from proxy.ca import authority
from proxy.clock import SystemClock
from proxy.definitions.settings import AuthorityFiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.stage import Case

UPSTREAM: Final = trustme.CA()
STRANGER: Final = trustme.CA()
TRUST: Final = {"ca": UPSTREAM.cert_pem.bytes().decode()}


class LocalAuthority:
    """An authority as `iclient-proxy ca init` makes it, for these hosts."""

    def __init__(self, *hosts: str) -> None:
        self.certificate, self._key = authority.make(hosts, SystemClock(), os.urandom)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write its files below the folder, and return the setting `intercept` for it."""
        files = AuthorityFiles(cert=folder / "ca" / "cert.pem", key=folder / "ca" / "key.pem")
        authority.write(files, self.certificate, self._key, None)
        return {"enabled": True, "ca": {"cert": str(files.cert), "key": str(files.key)}}

    def trusting(self, *alpn: str) -> ssl.SSLContext:
        """Return what a client has that trusts this authority and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate)
        context.set_alpn_protocols(list(alpn or ("http/1.1",)))
        return context


def listeners(**forward: Any) -> dict[str, Any]:
    """Return the setting `listeners` with these settings of the forward listener."""
    return {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0", **forward},
        "admin": {"bind": "127.0.0.1:0"},
    }


def server_tls(name: str = "localhost", issuer: trustme.CA = UPSTREAM) -> ssl.SSLContext:
    """Return what an upstream has that is known by this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)
    return context


def demanding_tls() -> ssl.SSLContext:
    """Return what an upstream has that lets nobody in without a certificate."""
    context = server_tls()
    context.verify_mode = ssl.CERT_REQUIRED
    UPSTREAM.configure_trust(context)
    return context


def at(case: Case, host: str = "localhost") -> bytes:
    """Return host and port of the test's own upstream."""
    return b"%s:%d" % (host.encode(), case.upstream.port)


def connect(case: Case, to: bytes = b"", *fields: bytes) -> bytes:
    """Return a CONNECT."""
    to = to or at(case)
    return case.raw(b"CONNECT %s HTTP/1.1" % to, b"Host: " + to, *fields)


async def connected(case: Case, to: bytes = b"", *fields: bytes) -> Client:
    """Return a stream on which a CONNECT has succeeded."""
    client = await case.connect(case.stage.process.listening["forward"][0])
    await client.send(connect(case, to, *fields))
    said = await client.read_until(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 "), said
    return client


def dialled(case: Case) -> socket.socket:
    """Return a blocking socket on which CONNECT has succeeded: it lets alerts out, which asyncio's TLS does not."""
    raw = socket.create_connection(case.stage.process.listening["forward"][0], timeout=10)
    raw.sendall(connect(case))
    assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    return raw
