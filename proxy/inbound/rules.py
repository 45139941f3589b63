"""What a listener's rules say of a request, and what they are told of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from proxy.exchange.connect import RawStreams
    from proxy.exchange.plan import Plan
    from proxy.inbound.listener import Listener
    from proxy.wire.reader import Reader
    from proxy.wire.request import RequestHead


@dataclass(slots=True)
class Peer:
    """What is known of one accepted stream: the local address and port it came to, and whether over TLS.

    `address` is "" and `port` 0 on a unix socket. `passed` is the credential that this stream has shown already.
    """

    address: str
    port: int
    tls: bool
    passed: bytes = b""

    @classmethod
    def of(cls, transport: asyncio.Transport) -> Peer:
        """Return what the transport of a stream knows."""
        local = transport.get_extra_info("sockname")
        address, port = local[:2] if isinstance(local, tuple) else ("", 0)
        return cls(address, port, transport.get_extra_info("ssl_object") is not None)


@dataclass(frozen=True, slots=True)
class Page:
    """What the listener says itself: a whole response, after which the stream is closed."""

    response: bytes

    @property
    def status(self) -> int:
        """Its status code."""
        return int(self.response[9:12])


@dataclass(frozen=True, slots=True)
class Crossing:
    """A CONNECT that may pass. `user` is the proxy user name that came with it, or empty, `passed` what let it in.

    `prefix` is what URLs behind it begin with, up to their paths, if they are https. Without `interceptor` it becomes a
    blind tunnel over one of `streams`.
    """

    host: str
    port: int
    prefix: bytes
    user: bytes
    streams: RawStreams
    interceptor: Interceptor | None
    passed: bytes | None = None


class Interceptor(Protocol):
    """Who ends TLS for claimed hosts."""

    def covers(self, host: str) -> bool:
        """Whether a certificate for this host can be had."""
        ...

    def protocol(self, listener: Listener, crossing: Crossing) -> Reader:
        """Return what takes the stream over once the client was told that it is connected."""
        ...


class Rules(Protocol):
    """Whose a request is. `challenge` goes with the refusal of a caller who has to show a credential."""

    @property
    def challenge(self) -> str:
        """What a refused caller is told about the credential that is wanted."""
        ...

    @property
    def strips_authorization(self) -> bool:
        """Whether a request's `Authorization` is for the listener."""
        ...

    def find(self, head: RequestHead, peer: Peer, *, host_allowed: bool) -> Plan | Page | Crossing:
        """Return what the request belongs to; raises `Refusal`. `host_allowed`: the last one had the same Host."""
        ...
