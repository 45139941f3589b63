"""The process of the cuts: connections over plain streams and TLS, and the doors by which a client comes in."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import trustme

from tests.support.client import Client
from tests.support.interception import TRUST, LocalAuthority, server_tls
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_RULES: Final = {"auth_errors": [{"path": "error.code", "values": ["INVALID_SESSION"]}]}
_OVER_TLS: Final[dict[str, Any]] = {"base_url": "https://localhost:PORT", "tls": TRUST}
_UNCLAIMED: Final[dict[str, Any]] = {"hosts": []}
# What streams lead to: of each kind one upstream in the clear and one over TLS.
_CONNECTIONS: Final[dict[str, dict[str, Any]]] = {
    "plain": _UNCLAIMED,
    "claimed": {},
    "plain-tls": _OVER_TLS,
    "ruled": {**_UNCLAIMED, **_RULES},
    "ruled-tls": {**_OVER_TLS, **_UNCLAIMED, **_RULES},
    "replayed": _UNCLAIMED,
    "replayed-tls": {**_OVER_TLS, **_UNCLAIMED},
}


class Door(Enum):
    """By which way a client reaches the upstream."""

    REVERSE = "reverse listener"
    SECURE = "reverse listener over TLS"
    CLAIMED = "forward listener, claimed"
    UNCLAIMED = "forward listener, unclaimed"
    TUNNEL = "tunnel of a CONNECT"
    INTERCEPTED = "intercepted CONNECT"

    def leads_to(self, kind: str, *, tls: bool) -> bool:
        """Whether this way leads to the upstream of that kind."""
        match self:
            case Door.REVERSE:
                return True
            case Door.SECURE | Door.CLAIMED:
                return kind == "plain"
            case Door.UNCLAIMED | Door.TUNNEL:
                return kind == "plain" and not tls
            case Door.INTERCEPTED:
                return kind == "plain" and tls


@dataclass(frozen=True)
class Entrance:
    """A running stage and how to get in."""

    stage: Stage
    cases: dict[str, Case]
    secure: ssl.SSLContext  # what trusts the reverse listener over TLS
    intercepted: ssl.SSLContext  # what trusts the local authority

    def case(self, kind: str, door: Door, *, tls: bool) -> Case:
        """Return the connection of that kind."""
        if tls:
            return self.cases[f"{kind}-tls"]
        return self.cases["claimed" if door is Door.CLAIMED else kind]

    async def enter(self, door: Door, case: Case) -> Client:
        """Open a stream on which a request can be sent."""
        process = self.stage.process
        match door:
            case Door.REVERSE:
                return await Client.connect(process.reverse)
            case Door.SECURE:
                return await Client.connect(process.listening["reverse"][1], tls=self.secure)
        client = await Client.connect(process.listening["forward"][0])
        if door in {Door.TUNNEL, Door.INTERCEPTED}:
            authority = _authority(door, case)
            await client.send(case.raw(b"CONNECT %s HTTP/1.1" % authority, b"Host: " + authority))
            said = await client.read_until(b"\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 200 "), said
        if door is Door.INTERCEPTED:
            await client.secure(self.intercepted, "localhost")
        return client

    @staticmethod
    def request(door: Door, case: Case, method: bytes, target: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
        """Return the head of a request as it is sent by that door."""
        match door:
            case Door.REVERSE | Door.SECURE:
                target, host = case.prefix + target, b"localhost"
            case Door.CLAIMED | Door.UNCLAIMED:
                host = _authority(door, case)
                target = b"http://" + host + target
            case Door.TUNNEL | Door.INTERCEPTED:
                host = _authority(door, case)
        return case.raw(b"%s %s HTTP/%s" % (method, target, version), b"Host: " + host, *fields)


def _authority(door: Door, case: Case) -> bytes:
    over_tls = case.upstream.tls is not None
    return b"%s:%d" % (b"localhost" if over_tls else b"127.0.0.1", case.upstream.port)


@asynccontextmanager
async def cutting_stage(folder: Path, *, chatty: bool = False) -> AsyncIterator[Entrance]:
    """Run the process with all connections and doors; `chatty` keeps its lines about each exchange."""
    server = trustme.CA()
    certificate = server.issue_cert("localhost")
    (folder / "chain.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    secure = ssl.create_default_context()
    server.configure_trust(secure)
    authority = LocalAuthority("localhost")
    reverse = {"cert": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
    listeners = {
        "reverse": [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "tls": reverse}],
        "forward": {"bind": "127.0.0.1:0", "intercept": authority.write(folder)},
        "admin": {"bind": "127.0.0.1:0"},
    }
    # Replays come one after the other here; the pace of renewals is somebody else's story.
    limits = {"backoff": {"min": "10ms", "max": "10ms"}}
    settings = {"listeners": listeners, "log": {"access": chatty}, "limits": limits, "allow_inline_secrets": True}
    stage = Stage(_CONNECTIONS, settings)
    await stage.start(folder)
    try:
        cases: dict[str, Case] = {}
        try:
            for name in _CONNECTIONS:
                cases[name] = await stage.case(name, server_tls() if name.endswith("-tls") else None)
            yield Entrance(stage, cases, secure, authority.trusting())
        finally:
            for each in cases.values():
                await each.close()
    finally:
        await stage.close()
