"""Bytes both ways after an upgrade or a CONNECT: nothing is looked at, half-closes are passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exchange.stream import Client, TunnelStream


class Tunnel:
    """A client's stream and an upstream's, joined until both have ended or one is lost.

    `on_close` gets the bytes that came from the client and from the upstream.
    """

    __slots__ = (
        "_client",
        "_closed",
        "_ended_client",
        "_ended_upstream",
        "_on_close",
        "_upstream",
        "bytes_in",
        "bytes_out",
    )

    def __init__(self, client: Client, upstream: TunnelStream, on_close: Callable[[int, int], None]) -> None:
        self._client = client
        self._upstream = upstream
        self._on_close = on_close
        self._ended_client = False
        self._ended_upstream = False
        self._closed = False
        self.bytes_in = 0
        self.bytes_out = 0

    def open(self, head: bytes, idle: float, early: bytes = b"") -> None:
        """Send the response's `head`, then relay; the tunnel ends after `idle` seconds without a byte.

        `early` is what the client sent ahead, before what its stream still holds.
        """
        early += self._client.tunnel(self)
        self._client.send(head)
        self._upstream.tunnel(self, idle)
        if early and not self._closed:
            self.from_client(early)

    def from_client(self, data: bytes) -> None:
        """Relay, or pass the half-close on."""
        if data:
            self.bytes_in += len(data)
            self._upstream.send(data, complete=False)
            return
        self._ended_client = True
        self._upstream.end_upload()
        if self._ended_upstream:
            self.close()

    def from_upstream(self, data: bytes) -> None:
        """Relay, or pass the half-close on."""
        if data:
            self.bytes_out += len(data)
            self._client.send(data)
            return
        self._ended_upstream = True
        if self._ended_client:
            self.close()
        else:
            self._client.end_tunnel()

    def blocked(self, *, on: bool) -> None:
        """The upstream takes no more (or takes again)."""
        if not self._closed:
            self._client.hold(on=on)

    def lost(self) -> None:
        """One side was reset or stayed silent for too long: end both."""
        if self._ended_upstream:
            self.close()  # a reset would destroy what the upstream said before its end and the client has not read
        elif not self._closed:
            self._closed = True
            self._upstream.close()
            self._client.abort()
            self._on_close(self.bytes_in, self.bytes_out)

    def close(self) -> None:
        """Both sides have ended."""
        if not self._closed:
            self._closed = True
            self._upstream.close()
            self._client.finish(reuse=False)
            self._on_close(self.bytes_in, self.bytes_out)
