"""What all exchanges of the process share, and the one place where an exchange is recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proxy.exchange.record import ExchangeRecord

if TYPE_CHECKING:
    import asyncio

    from proxy.exchange.record import ConnectionCounters, ProcessCounters, Recorder
    from proxy.exchange.replay import ReplayMemory
    from proxy.problem import Problem
    from proxy.wire.request import RequestHead


class Surroundings:
    """What all exchanges of the process share."""

    __slots__ = ("counters", "draining", "loop", "memory", "next_id", "prefix", "recorder", "tunnels_max", "unmatched", "via", "via_tag", "tunnel_idle")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: ProcessCounters,
        unmatched: ConnectionCounters,
        recorder: Recorder | None,
        memory: ReplayMemory,
        *,
        via: bytes,
        via_tag: bytes,
        tunnels_max: int,
        tunnel_idle: float,
    ) -> None:
        self.loop = loop
        self.counters = counters
        self.unmatched = unmatched
        self.recorder = recorder
        self.memory = memory
        self.via = via
        self.via_tag = via_tag
        self.tunnels_max = tunnels_max
        self.tunnel_idle = tunnel_idle
        self.draining = False
        self.prefix = os.urandom(5).hex()
        self.next_id = 0

    def request_id(self) -> str:
        """Return an id that no other exchange of any process has."""
        self.next_id += 1
        return f"{self.prefix}-{self.next_id:x}"

    def count_reply(self, problem: Problem) -> None:
        """Count an own answer."""
        replies = self.counters.local_replies
        replies[problem.code] = replies.get(problem.code, 0) + 1

    def record_unmatched(self, problem: Problem, head: RequestHead | None) -> str:
        """Count and record an own answer to a request that belongs to no connection; returns its id.

        `head` is None where not even a head came through.
        """
        self.count_reply(problem)
        requests = self.unmatched.requests
        requests[problem.status] = requests.get(problem.status, 0) + 1
        request_id = self.request_id()
        if self.recorder is not None:
            record = ExchangeRecord()
            record.connection = self.unmatched.connection
            record.method = head.method if head is not None else b"-"
            record.path = head.target.partition(b"?")[0] if head is not None else b"-"
            record.status = problem.status
            record.attempts = 0
            record.renewed = False
            record.seconds_total = record.seconds_upstream = record.seconds_token = 0.0
            record.bytes_in = record.bytes_out = 0
            record.request_id = request_id
            record.secrets = ()
            self.recorder.record(record)
        return request_id
