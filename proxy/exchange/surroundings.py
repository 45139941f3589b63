"""What all exchanges of the process share, and the one place where an exchange is recorded."""

from __future__ import annotations

import os
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Protocol

from proxy.exchange.flow import Exchange
from proxy.exchange.pressure import Pressure
from proxy.exchange.record import BUCKETS, OVERHEAD_BUCKETS, ExchangeRecord, without_user
from proxy.exchange.turned_away import TurnedAway
from proxy.problem import answer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.errors import Refusal
    from proxy.exchange.inspection import Bounds
    from proxy.exchange.record import ConnectionCounters, ProcessCounters, Recorder
    from proxy.exchange.replay import ReplayMemory
    from proxy.problem import Problem
    from proxy.wire.request import RequestHead

# Exchanges that are counted in one go: where they come one by one, histograms and code have left the processor's caches
# between two of them, and to count one costs as much as to parse half a head.
BATCH: Final = 64


class Claimant(Protocol):
    """Whose an exchange was."""

    @property
    def counters(self) -> ConnectionCounters:
        """Where it counts."""
        ...

    def hidden(self, token: AccessToken | None) -> tuple[bytes, ...] | None:
        """Return what no log line about it may show."""
        ...


class Surroundings:
    """What all exchanges of the process share. `exchange` makes one, as the class `Exchange` itself does.

    While `closing`, each response is the last one of its stream. While `full`, nothing new begins.
    """

    __slots__ = (
        "_beside", "_draining", "_last_id", "_prefix", "_uncounted", "_usual", "bounds", "closing", "counters",
        "exchange", "full", "loop", "memory", "recorder", "tunnel_idle", "tunnels_max", "unmatched", "via_tag",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: ProcessCounters,
        unmatched: ConnectionCounters,
        recorder: Recorder | None,
        memory: ReplayMemory,
        bounds: Bounds,
        *,
        via_tag: bytes,
        tunnels_max: int,
        tunnel_idle: float,
        exchange: Callable[..., Exchange] = Exchange,
    ) -> None:
        self.loop = loop
        self.exchange = self._usual = exchange
        self.counters = counters
        self.unmatched = unmatched
        self.recorder = recorder
        self.memory = memory
        self.bounds = bounds
        self.via_tag = via_tag
        self.tunnels_max = tunnels_max
        self.tunnel_idle = tunnel_idle
        self.closing = self.full = self._draining = False
        self._beside: tuple[Surroundings, ...] = ()
        self._prefix = os.urandom(5).hex()
        self._last_id = 0
        self._uncounted: list[tuple[ConnectionCounters, int, int, float, float, float]] = []

    def beside(self, exchange: Callable[..., Exchange]) -> Surroundings:
        """Return the same for streams on which exchanges begin otherwise; it hears of whatever these hear of."""
        other = Surroundings(
            self.loop,
            self.counters,
            self.unmatched,
            self.recorder,
            self.memory,
            self.bounds,
            via_tag=self.via_tag,
            tunnels_max=self.tunnels_max,
            tunnel_idle=self.tunnel_idle,
            exchange=exchange,
        )
        self._beside += (other,)
        return other

    def allow_tunnels(self, most: int) -> None:
        """From now on so many tunnels may be open."""
        self.tunnels_max = most
        for other in self._beside:
            other.allow_tunnels(most)

    def drain(self) -> None:
        """The process is about to end."""
        self._draining = self.closing = True
        for other in self._beside:
            other.drain()

    def press(self, pressure: Pressure) -> None:
        """Do with less memory, or as usual again; what is under way goes on."""
        tight = pressure is not Pressure.NONE
        self.closing = self._draining or tight
        self.memory.keeps_requests = not tight
        self.full = pressure is Pressure.FULL
        self.exchange = TurnedAway if self.full else self._usual
        for other in self._beside:
            other.press(pressure)

    def reply(self, record: ExchangeRecord, refusal: Refusal, *, close: bool, head_only: bool) -> bytes:
        """Count an own answer to a request of a connection, and return it."""
        self.count_reply(refusal.problem)
        return answer(
            refusal.problem,
            refusal.detail,
            request_id=self.identify(record),
            connection=record.connection,
            retry_after=refusal.retry_after,
            close=close,
            head_only=head_only,
        )

    def count_reply(self, problem: Problem) -> None:
        """Count an own answer."""
        replies = self.counters.local_replies
        replies[problem.code] = replies.get(problem.code, 0) + 1

    def record_unmatched(self, problem: Problem, head: RequestHead | None) -> str:
        """Count and record an own answer to a request that belongs to no connection; returns its id.

        `head` is None where not even a head came through.
        """
        self.count_reply(problem)
        return self.record_own(problem.status, head)

    def record_own(self, status: int, head: RequestHead | None) -> str:
        """Count and record what we answered ourselves for no connection; returns its id."""
        requests = self.unmatched.requests
        requests[status] = requests.get(status, 0) + 1
        record = (
            ExchangeRecord(self.unmatched.connection, head.method, without_user(head.target))
            if head is not None
            else ExchangeRecord(self.unmatched.connection, b"-", b"-")
        )
        record.status = status
        record.request_id = self._new_id()
        if self.recorder is not None:
            if head is not None:
                record.secrets = None
            self.recorder.record(record)
        return record.request_id

    def over(self, whose: Claimant, record: ExchangeRecord, token: AccessToken | None) -> None:
        """Record an exchange that ended; it is counted with others."""
        self.counters.in_flight -= 1
        uncounted = self._uncounted
        uncounted.append(
            (
                whose.counters,
                record.status,
                record.attempts,
                record.seconds_total,
                record.seconds_upstream,
                record.seconds_token,
            )
        )
        if len(uncounted) >= BATCH:
            self.count()
        if self.recorder is not None:
            self.identify(record)
            record.secrets = whose.hidden(token)
            self.recorder.record(record)

    def count(self) -> None:
        """Bring the counters up to date; whoever reads them asks for it first."""
        uncounted, self._uncounted = self._uncounted, []
        overhead = self.counters.overhead
        for counters, status, attempts, total, upstream, token in uncounted:
            requests = counters.requests
            requests[status] = requests.get(status, 0) + 1
            # What `Histogram.observe` does, three times: the calls would cost as much again.
            histogram = counters.duration
            histogram.counts[bisect_left(BUCKETS, total)] += 1
            histogram.total += total
            if attempts:
                histogram = counters.upstream
                histogram.counts[bisect_left(BUCKETS, upstream)] += 1
                histogram.total += upstream
                rest = total - upstream - token
                overhead.counts[bisect_left(OVERHEAD_BUCKETS, rest)] += 1
                overhead.total += rest
        for other in self._beside:
            other.count()

    def identify(self, record: ExchangeRecord) -> str:
        """Give the record its id, unless it has one; only what is logged or answered needs one."""
        if not record.request_id:
            record.request_id = self._new_id()
        return record.request_id

    def _new_id(self) -> str:
        """Return an id that no other exchange of any process has."""
        self._last_id += 1
        return f"{self._prefix}-{self._last_id:x}"
