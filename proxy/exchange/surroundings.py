"""What all exchanges of the process share, and the one place where an exchange is recorded."""

from __future__ import annotations

import os
from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol

from proxy.exchange.flow import Exchange
from proxy.exchange.pressure import Pressure
from proxy.exchange.record import BUCKETS, OVERHEAD_BUCKETS, ExchangeRecord, without_user
from proxy.exchange.turned_away import TurnedAway

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.exchange.inspection import Bounds
    from proxy.exchange.record import ConnectionCounters, ProcessCounters, Recorder
    from proxy.exchange.replay import ReplayMemory
    from proxy.problem import Problem
    from proxy.wire.request import RequestHead


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
        "_beside", "_draining", "_last_id", "_prefix", "_usual", "bounds", "closing", "counters", "exchange", "full",
        "loop", "memory", "recorder", "tunnel_idle", "tunnels_max", "unmatched", "via_tag",
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
        """Count and record an exchange that ended."""
        counters, process = whose.counters, self.counters
        process.in_flight -= 1
        requests = counters.requests
        requests[record.status] = requests.get(record.status, 0) + 1
        # What `Histogram.observe` does, three times: the calls would cost as much again.
        total, upstream = record.seconds_total, record.seconds_upstream
        histogram = counters.duration
        histogram.counts[bisect_left(BUCKETS, total)] += 1
        histogram.total += total
        if record.attempts:
            histogram = counters.upstream
            histogram.counts[bisect_left(BUCKETS, upstream)] += 1
            histogram.total += upstream
            overhead = total - upstream - record.seconds_token
            histogram = process.overhead
            histogram.counts[bisect_left(OVERHEAD_BUCKETS, overhead)] += 1
            histogram.total += overhead
        if self.recorder is not None:
            self.identify(record)
            record.secrets = whose.hidden(token)
            self.recorder.record(record)

    def identify(self, record: ExchangeRecord) -> str:
        """Give the record its id, unless it has one; only what is logged or answered needs one."""
        if not record.request_id:
            record.request_id = self._new_id()
        return record.request_id

    def _new_id(self) -> str:
        """Return an id that no other exchange of any process has."""
        self._last_id += 1
        return f"{self._prefix}-{self._last_id:x}"
