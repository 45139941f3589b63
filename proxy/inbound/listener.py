"""A listening socket of the data path and the streams that came through it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.settings import UnixBind
from proxy.errors import Refusal
from proxy.exchange.turned_away import NO_MEMORY
from proxy.inbound.bind import bind_socket, bound_at, printable_address
from proxy.inbound.connection import Downstream
from proxy.inbound.tls import Exchangeable
from proxy.problem import PROBLEMS, answer
from proxy.wire.reader import as_protocol

if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl

    from proxy.definitions.settings import Bind, Limits
    from proxy.exchange.surroundings import Surroundings
    from proxy.inbound.rules import Rules
    from proxy.wire.request import HeadLimits
    from proxy.wire.sweep import Sweep

BACKLOG: Final = 1024
TOO_MANY: Final = Refusal(PROBLEMS["overloaded"], "limits.connections are open", retry_after=1)


class StreamCount:
    """How many data streams are open in the whole process, and how many may be; of more, so many at a time are told.

    `accepted` is how many there have been.
    """

    __slots__ = ("accepted", "limit", "open", "open_when_full", "told")

    def __init__(self, limit: int, told: int) -> None:
        self.limit = limit
        self.told = told
        self.open_when_full: int | None = None
        self.open = 0
        self.accepted = 0


class Listener:
    """One listener of the data path: a reverse one, the port of one route, or the forward one."""

    def __init__(
        self,
        name: str,
        bind: Bind,
        tls: ssl.SSLContext | None,
        rules: Rules,
        surroundings: Surroundings,
        limits: Limits,
        head_limits: HeadLimits,
        sweep: Sweep,
        count: StreamCount,
    ) -> None:
        self.name = name
        self.rules = rules
        self.surroundings = surroundings
        self.limits = limits
        self.head_limits = head_limits
        self.leaving = False
        self.at: tuple[str, int] | None = None  # where it listens, once it does; None on a unix socket, too
        self._bind = bind
        self._context = Exchangeable.of(tls) if tls is not None else None
        self._sweep = sweep
        self._count = count
        self._server: asyncio.Server | None = None
        self._streams: set[Downstream] = set()

    async def start(self) -> str:
        """Bind and accept; returns the address. Raises `MachineError` when it is taken or not ours to have."""
        loop = self.surroundings.loop
        sock = self._bound()
        self.at = bound_at(sock)
        self._server = await loop.create_server(
            lambda: as_protocol(Downstream(self)), sock=sock, ssl=self._context, backlog=BACKLOG
        )
        return printable_address(sock)

    def stop_accepting(self) -> None:
        """Close the listening socket; open streams go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.at = None
            self._unbind()

    def _bound(self) -> socket.socket:
        return bind_socket(self._bind, f"{self.name} listener")

    def _unbind(self) -> None:
        if isinstance(self._bind, UnixBind):
            with contextlib.suppress(FileNotFoundError):
                Path(self._bind.path).unlink()

    def retire(self) -> None:
        """Stop accepting and close each stream as soon as no request is under way on it."""
        self.leaving = True
        self.stop_accepting()
        self.close_idle()

    def change_rules(self, rules: Rules) -> None:
        """Let these rules decide about every request that comes from now on, on open streams, too."""
        self.rules = rules
        for stream in self._streams:
            stream.rules_changed(rules)

    def change_tls(self, context: ssl.SSLContext | None) -> None:
        """Let streams that come from now on have their TLS from `context`; open ones keep theirs.

        A listener without TLS stays one.
        """
        if self._context is not None and context is not None:
            self._context.current = context

    def close_idle(self) -> None:
        """Close the streams that have no request under way."""
        for stream in list(self._streams):
            stream.close_when_idle()

    def abort(self) -> None:
        """Cut all streams."""
        for stream in list(self._streams):
            stream.cut()

    @property
    def open_streams(self) -> int:
        """Streams that are still open."""
        return len(self._streams)

    # What its streams tell

    def opened(self, stream: Downstream) -> None:
        """A stream was accepted; one too many is told so and closed, and when memory is full each is one too many.

        Who is told takes a moment to leave, and keeps a file descriptor meanwhile: of a flood only some are told.
        """
        self._streams.add(stream)
        self._sweep.members.add(stream)
        count = self._count
        count.accepted += 1
        count.open += 1
        limit, refusal = count.limit, TOO_MANY
        if not self.surroundings.full:
            count.open_when_full = None
        elif count.open_when_full is None:
            count.open_when_full = count.open - 1
        if count.open_when_full is not None and count.open_when_full < limit:
            limit, refusal = count.open_when_full, NO_MEMORY
        if count.open > limit + count.told:
            stream.cut()
        elif count.open > limit:
            request_id = self.surroundings.record_unmatched(refusal.problem, None)
            stream.turn_away(
                answer(
                    refusal.problem,
                    refusal.detail,
                    request_id=request_id,
                    retry_after=refusal.retry_after,
                    close=True,
                )
            )

    def closed(self, stream: Downstream) -> None:
        """A stream is gone."""
        self._streams.discard(stream)
        self._sweep.members.discard(stream)
        self._count.open -= 1

    def slow(self) -> None:
        """A stream was closed because its client was too slow."""
        self.surroundings.counters.slow_clients_closed += 1
