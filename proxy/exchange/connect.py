"""One CONNECT: a destination is dialled, then the application's stream and the new one are a tunnel (RFC 9110 §9.3.6).

Nothing that the application sends ahead leaves before the destination has accepted the stream, and none of it is ever
read as another request: where there is no tunnel, the stream is closed.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import Refusal
from proxy.exchange.phase import Phase
from proxy.exchange.record import ExchangeRecord
from proxy.exchange.tunnel import Tunnel
from proxy.exchange.turned_away import NO_MEMORY
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from proxy.access_token import AccessToken
    from proxy.exchange.record import ConnectionCounters
    from proxy.exchange.stream import Client, TunnelStream
    from proxy.exchange.surroundings import Surroundings

EARLY_MAX: Final = 64 * 1024  # bytes that may wait for the destination before the client is held
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_CLIENT_LEFT: Final = 499  # nginx' number for a client that closed first; only the log sees it


class RawWaiter(Protocol):
    """Who waits for a stream without HTTP on it."""

    def opened(self, stream: TunnelStream) -> None:
        """The stream is there."""
        ...

    def broken(self, refusal: Refusal) -> None:
        """There will be none."""
        ...


class RawStreams(Protocol):
    """Who dials destinations."""

    def open(self, waiter: RawWaiter, host: str, port: int) -> None:
        """Have `waiter` told of a new stream to `host`, a name or an address without brackets."""
        ...

    def forget(self, waiter: RawWaiter) -> None:
        """`waiter` has left."""
        ...


class Connect:
    """One CONNECT to `host` (in lower case, without brackets) and `port`; fills the port `RawWaiter`.

    `name` and `counters` are those of the connection that claims the host, or of no connection.
    """

    __slots__ = (
        "_began", "_client", "_early", "_held", "_host", "_phase", "_port", "_record", "_stream", "_streams",
        "_surroundings", "_tunnel", "counters",
    )  # fmt: skip

    def __init__(
        self,
        surroundings: Surroundings,
        client: Client,
        host: str,
        port: int,
        streams: RawStreams,
        *,
        name: str = "-",
        counters: ConnectionCounters,
    ) -> None:
        self._surroundings = surroundings
        self._client = client
        self._host = host
        self._port = port
        self._streams = streams
        self.counters = counters
        self._began = perf_counter()
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._record = ExchangeRecord(name, b"CONNECT", authority.encode())
        self._phase = Phase.STREAM
        self._early = b""
        self._held = False
        self._stream: TunnelStream | None = None
        self._tunnel: Tunnel | None = None
        surroundings.counters.in_flight += 1

    def start(self, early: bytes) -> None:
        """Dial, unless there are too many tunnels; `early` is what came behind the head."""
        surroundings = self._surroundings
        if surroundings.full:
            self._answer(NO_MEMORY)
            return
        if surroundings.counters.tunnels_open >= surroundings.tunnels_max:
            self._answer(Refusal(PROBLEMS["tunnel_limit"], "limits.tunnels are open", retry_after=1))
            return
        surroundings.counters.tunnels_open += 1  # from here on, so that a burst of dials stays within the limit, too
        self._early = early
        self._record.attempts = 1
        self._streams.open(self, self._host, self._port)

    def body(self, piece: bytes, *, done: bool) -> None:
        """Take what the application sends ahead."""
        if self._phase is Phase.STREAM:
            self._early += piece
            if len(self._early) > EARLY_MAX and not self._held:
                self._held = True
                self._client.hold(on=True)

    def spoilt(self, refusal: Refusal) -> None:
        """What follows the head breaks its framing or stays away."""
        if self._phase is Phase.STREAM:
            self._streams.forget(self)
            self.broken(refusal)
        elif self._tunnel is not None:
            self._tunnel.lost()

    def client_left(self) -> None:
        """The application is gone."""
        if self._tunnel is not None:
            self._tunnel.lost()
        elif self._phase is Phase.STREAM:
            self._streams.forget(self)
            self._record.status = _CLIENT_LEFT
            self._over(0, 0)

    def client_blocked(self, *, on: bool) -> None:
        """The application takes no more (or takes again)."""
        if self._stream is not None:
            self._stream.hold(on=on)

    # What the dial tells

    def opened(self, stream: TunnelStream) -> None:
        """Say so to the application, and join the two streams."""
        self._phase = Phase.TUNNEL
        self._stream = stream
        self._record.status = 200
        early, self._early = self._early, b""
        if self._held:
            self._held = False
            self._client.hold(on=False)
        tunnel = self._tunnel = Tunnel(self._client, stream, self._over)
        tunnel.open(_ESTABLISHED, self._surroundings.tunnel_idle, early)

    def broken(self, refusal: Refusal) -> None:
        """Answer; what the application sent ahead is dropped with its stream."""
        if self._phase is Phase.STREAM:
            self._surroundings.counters.tunnels_open -= 1
            self._answer(refusal)

    # What is recorded

    def hidden(self, token: AccessToken | None) -> None:
        """Hide every secret that is alive: the application wrote the line, whatever it put into it."""

    # Inside

    def _answer(self, refusal: Refusal) -> None:
        surroundings, record = self._surroundings, self._record
        self._phase = Phase.OVER
        self._early = b""
        record.status = refusal.problem.status
        data = surroundings.reply(record, refusal, close=True, head_only=False)
        self._leave_record()
        self._client.send(data)
        self._client.finish(reuse=False)

    def _over(self, bytes_in: int, bytes_out: int) -> None:
        """The tunnel is closed, or nobody wants it any more."""
        self._phase = Phase.OVER
        self._stream = None
        self._surroundings.counters.tunnels_open -= 1
        self._record.bytes_in, self._record.bytes_out = bytes_in, bytes_out
        self._leave_record()

    def _leave_record(self) -> None:
        record = self._record
        record.seconds_total = perf_counter() - self._began
        if record.attempts:
            record.seconds_upstream = record.seconds_total  # all of it was waiting for others
        self._surroundings.over(self, record, None)
