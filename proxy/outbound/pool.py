"""Upstream streams at rest, last in first out, one pool per connection; and how many there may be in all."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    import ssl

    from proxy.definitions.models import Timeouts
    from proxy.exchange.plan import Waiter
    from proxy.outbound.dial import Dialler
    from proxy.outbound.upstream import Upstream
    from proxy.wire.request import HeadLimits
    from proxy.wire.sweep import Sweep

_BEFORE_THEIRS: Final = 1.0  # seconds: we let go of an idle stream before the upstream does (Keep-Alive: timeout)


class StreamLimit:
    """The streams of all pools together. At the limit an idle one is closed, else the next request waits in line.

    `line` are the pools that asked for a place in vain, the first one first: with a pool for each origin that some
    application named there may be thousands, and a stream that ends must not have to look at all of them.
    """

    __slots__ = ("_limit", "_open", "line", "pools")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self.pools: list[Pool] = []
        self.line: dict[Pool, None] = {}

    def claim(self) -> bool:
        """Reserve a place, by closing an idle stream of some pool if need be."""
        if self._open >= self._limit and not any(pool.close_oldest() for pool in self.pools):
            return False
        self._open += 1
        return True

    def free(self) -> None:
        """Return a place; whoever waits for one may dial now."""
        self._open -= 1
        while self.line and self._open < self._limit:
            pool = next(iter(self.line))
            del self.line[pool]
            pool.dial_for_waiters()


class Pool:
    """The streams of one connection; fills the exchange's port `Streams`."""

    __slots__ = (
        "_bound", "_dialler", "_dials", "_idle", "_idle_limit", "_limit", "_live", "_loop", "_resumes", "_retired",
        "_waiting", "deadline", "head_limits", "name", "session", "sweep", "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        dialler: Dialler,
        timeouts: Timeouts,
        head_limits: HeadLimits,
        limit: StreamLimit,
        sweep: Sweep,
        upstream_idle: float,
    ) -> None:
        self.name = name
        self.timeouts = timeouts
        self.head_limits = head_limits
        self.sweep = sweep
        self.session: ssl.SSLSession | None = None
        self.deadline = NEVER
        self._loop = loop
        self._dialler = dialler
        self._idle: list[Upstream] = []
        self._bound: dict[object, Upstream] = {}  # at rest, by whose credential they were opened with
        self._idle_limit = upstream_idle
        self._limit = limit
        self._resumes = dialler.is_tls
        self._live: set[Upstream] = set()
        self._waiting: deque[tuple[Waiter, float]] = deque()
        self._dials: set[asyncio.Task[None] | None] = set()
        self._retired = False
        self._join()

    # The exchange's port

    def take(self, owner: object) -> Upstream | None:
        """Return the stream that is bound to `owner`, else the one that rested least, if it is still open."""
        idle = self._idle
        if self._bound and (bound := self._bound.pop(owner, None)) is not None:
            idle.append(bound)
        while idle:
            stream = idle.pop()
            if stream.usable():
                stream.deadline = NEVER
                return stream
            stream.discard()
        return None

    def open(self, waiter: Waiter) -> None:
        """Have `waiter` told of the next stream that is new or falls idle; within `timeouts.connect`."""
        deadline = monotonic() + self.timeouts.connect
        self._join()
        self._waiting.append((waiter, deadline))
        if self.deadline == NEVER:
            self.deadline = deadline
        self.dial_for_waiters()

    def forget(self, waiter: Waiter) -> None:
        """`waiter` has left."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not waiter)
        self._leave_if_unused()

    # What its streams tell

    def joined(self, stream: Upstream) -> None:
        """A stream has its TCP connection."""
        self.sweep.members.add(stream)

    def left(self, stream: Upstream) -> None:
        """A stream is gone."""
        self.sweep.members.discard(stream)
        if stream in self._idle:
            self._idle.remove(stream)
        elif self._bound and self._bound.get(stream.owner) is stream:
            del self._bound[stream.owner]
        if stream in self._live:  # a stream that never got through its handshake is freed by its dial
            self._live.discard(stream)
            self._limit.free()
            self._leave_if_unused()

    def told_timeout(self, seconds: int) -> None:
        """The upstream says how long it keeps an idle stream."""
        self._idle_limit = min(self._idle_limit, max(0.0, seconds - _BEFORE_THEIRS))

    def released(self, stream: Upstream) -> None:
        """A response is whole: the stream goes to who waits, else to rest."""
        if self._resumes and self.session is None:
            self.session = stream.session  # not sooner: TLS 1.3 sends the ticket after the handshake
        if self._waiting and not stream.usable():  # the end of it came with the response
            stream.discard()
            return
        if stream.owner is not None:
            self._keep_bound(stream)
            return
        if self._waiting or self._idle_limit <= 0:
            self._offer(stream)
            return
        stream.deadline = monotonic() + self._idle_limit
        self._idle.append(stream)

    # The limit's side

    def wants_more(self) -> bool:
        """Whether more requests wait than streams are being dialled."""
        return len(self._waiting) > len(self._dials)

    def dial_for_waiters(self) -> None:
        """Dial one stream for each waiting request, as far as the limit lets."""
        while self.wants_more():
            if not self._limit.claim():
                self._limit.line[self] = None
                return
            task = self._loop.create_task(self._dial(), name=f"dial for {self.name}")
            self._dials.add(task)

    def close_oldest(self) -> bool:
        """Close the stream that rested longest; its place is free once it is gone. Whether there was one."""
        if self._idle:
            self._idle.pop(0).discard()
        elif self._bound:
            self._bound.pop(next(iter(self._bound))).discard()
        else:
            return False
        return True

    def expired(self) -> None:
        """Requests have waited too long for a stream."""
        now = monotonic()
        while self._waiting and self._waiting[0][1] <= now:
            waiter, _ = self._waiting.popleft()
            if self._dials:
                refusal = Refusal(
                    PROBLEMS["upstream_connect_timeout"], "no stream to the upstream within timeouts.connect"
                )
            else:
                refusal = Refusal(PROBLEMS["overloaded"], "limits.upstream_streams are open", retry_after=1)
            waiter.broken(refusal)
        self.deadline = self._waiting[0][1] if self._waiting else NEVER
        self._leave_if_unused()

    def retire(self) -> None:
        """Its connection is no more: close what rests now, and what is busy when its response is whole.

        Requests that are under way are still served.
        """
        self._retired = True
        self._idle_limit = 0.0
        self.close_idle()
        self._leave_if_unused()

    async def close(self) -> None:
        """Close what rests and stop dialling."""
        self._leave()
        self.close_idle()
        dials = [task for task in self._dials if task is not None]
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    # Inside

    def _offer(self, stream: Upstream) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            stream.deadline = NEVER
            waiter.opened(stream)
            return
        if self._idle_limit <= 0:
            stream.discard()
            return
        stream.deadline = monotonic() + self._idle_limit
        self._idle.append(stream)

    def _join(self) -> None:
        if self not in self.sweep.members:
            self._limit.pools.append(self)
            self.sweep.members.add(self)

    def _leave(self) -> None:
        if self in self.sweep.members:
            self._limit.pools.remove(self)
            self._limit.line.pop(self, None)
            self.sweep.members.discard(self)

    def _leave_if_unused(self) -> None:
        if self._retired and not (self._live or self._waiting or self._dials):
            self._leave()

    def close_idle(self) -> None:
        """Close what rests now."""
        for stream in (*self._idle, *self._bound.values()):
            stream.discard()
        self._idle.clear()
        self._bound.clear()

    def _keep_bound(self, stream: Upstream) -> None:
        """Have a stream that somebody has signed in on rest for that one alone."""
        before = self._bound.pop(stream.owner, None)
        if before is not None:
            before.discard()
        if self._idle_limit <= 0:
            stream.discard()
            return
        stream.deadline = monotonic() + self._idle_limit
        self._bound[stream.owner] = stream

    async def _dial(self) -> None:
        try:
            stream = await self._dialler.dial(self)
        except Refusal as refusal:
            self._dials.discard(asyncio.current_task())
            waiter = self._next_waiter()  # before its place is free: else it would be dialled for once more
            self._limit.free()
            if waiter is not None:
                waiter.broken(refusal)
            self._leave_if_unused()
            return
        except BaseException:
            self._dials.discard(asyncio.current_task())
            self._limit.free()
            raise
        self._dials.discard(asyncio.current_task())
        self._live.add(stream)
        self._offer(stream)

    def _next_waiter(self) -> Waiter | None:
        if not self._waiting:
            return None
        waiter, _ = self._waiting.popleft()
        self.deadline = self._waiting[0][1] if self._waiting else NEVER
        return waiter
