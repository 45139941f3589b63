"""The two ends of an exchange as it sees them: ports that `inbound` and `outbound` fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.errors import Refusal
    from proxy.wire.response import ResponseHead


class Downstream(Protocol):
    """The stream to the application, for what goes out."""

    def send(self, data: bytes) -> None:
        """Write."""
        ...

    def finish(self, *, reuse: bool) -> None:
        """The exchange is over; without `reuse` the stream is closed after what was written has left."""
        ...

    def abort(self) -> None:
        """End the stream so that the application sees that the response is cut (RST, no last chunk)."""
        ...


class RequestSource(Protocol):
    """The stream from the application, for what comes in."""

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading."""
        ...

    def tunnel(self, tunnel: TunnelEnd) -> bytes:
        """From now on every byte goes to `tunnel`; returns those that are here already."""
        ...


class Client(Downstream, RequestSource, Protocol):
    """The application's stream, both ways."""

    def end_tunnel(self) -> None:
        """Half-close towards the application (tunnels)."""
        ...


class TunnelEnd(Protocol):
    """What one side of a tunnel tells it."""

    def from_client(self, data: bytes) -> None:
        """Bytes of the application; empty at its half-close."""
        ...

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the upstream; empty at its half-close."""
        ...

    def lost(self) -> None:
        """One side is gone."""
        ...


class Joined(TunnelEnd, Protocol):
    """A tunnel as a stream to an upstream knows it."""

    def blocked(self, *, on: bool) -> None:
        """The upstream takes no more (or takes again)."""
        ...


class Consumer(Protocol):
    """Who sent a request on an upstream stream: first `response` (or `broken`), then `piece` until `done`."""

    def response(self, head: ResponseHead, piece: bytes, *, done: bool) -> None:
        """A head, also of a 1xx response, with what came of its body."""
        ...

    def piece(self, data: bytes, *, done: bool) -> None:
        """More of the body; `data` may be empty when `done`."""
        ...

    def broken(self, refusal: Refusal) -> None:
        """The stream ended or failed before the response was whole."""
        ...


class Uploader(Consumer, Protocol):
    """A consumer that also sends a body."""

    def upload_blocked(self, *, on: bool) -> None:
        """The upstream takes no more (or takes again)."""
        ...


class Outlet(Protocol):
    """A stream to an upstream, for what goes out."""

    def send(self, data: bytes, *, complete: bool) -> None:
        """Write more of the request, or more for the tunnel."""
        ...

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading what comes back."""
        ...

    def close(self) -> None:
        """Give the stream up; nobody hears of it any more."""
        ...


class TunnelStream(Outlet, Protocol):
    """A stream to an upstream that can be joined with an application's."""

    def tunnel(self, tunnel: Joined, idle: float) -> bytes:
        """From now on every byte goes to `tunnel`, which ends after `idle` seconds without one."""
        ...

    def end_upload(self) -> None:
        """Half-close towards the upstream."""
        ...


class Stream(TunnelStream, Protocol):
    """One upstream stream, lent to one exchange at a time."""

    def begin(
        self,
        consumer: Uploader,
        data: bytes,
        *,
        complete: bool,
        head_only: bool,
        decode: bool,
        trailers: bool,
        owner: object | None,
    ) -> None:
        """Write the beginning of a request; `complete` when it is all of it.

        With an `owner` the stream is lent to that one alone from now on.
        """
        ...
