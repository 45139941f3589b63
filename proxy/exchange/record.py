"""What one exchange leaves behind: one record, a few plain counters.

Counters are lists and dicts that the data path adds to and a scrape reads; a metrics library per request would cost
more than the request (docs/performance.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from proxy.form import mypyc_attr
from proxy.histogram import Histogram

# Prometheus' habit: seconds, upper bounds inclusive, +Inf is the last list element of a histogram.
BUCKETS: Final[tuple[float, ...]] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OVERHEAD_BUCKETS: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5,
)  # fmt: skip
LAG_BUCKETS: Final[tuple[float, ...]] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A user name, perhaps with a password, before the host of a URL or of a CONNECT. Only at the very beginning: a search
# would look at each byte of a long target again from each before it.
_USER: Final = re.compile(rb"\A((?:[a-z][a-z0-9+.-]*://)?)[^/?]*@", re.IGNORECASE)
REPLAY_OUTCOMES: Final = ("accepted", "refused", "not_replayable", "cooldown")


@dataclass(slots=True)
class ConnectionCounters:
    """The counters of one connection (`-`: of requests that belong to none). `requests` counts by status."""

    connection: str
    requests: dict[int, int] = field(default_factory=dict)
    duration: Histogram = field(default_factory=lambda: Histogram(BUCKETS))
    upstream: Histogram = field(default_factory=lambda: Histogram(BUCKETS))
    auth_errors: dict[str, int] = field(default_factory=dict)
    replays: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REPLAY_OUTCOMES, 0))


@dataclass(slots=True)
class ProcessCounters:
    """The counters of the whole process. `in_flight` and `tunnels_open` go up and down."""

    overhead: Histogram = field(default_factory=lambda: Histogram(OVERHEAD_BUCKETS))
    in_flight: int = 0
    tunnels_open: int = 0
    local_replies: dict[str, int] = field(default_factory=dict)
    slow_clients_closed: int = 0
    loop_lag: Histogram = field(default_factory=lambda: Histogram(LAG_BUCKETS))
    loop_stalls: int = 0
    memory_pressure: int = 0
    store_errors: dict[str, int] = field(default_factory=dict)


@mypyc_attr(allow_interpreted_subclasses=True)
class ExchangeRecord:
    """One downstream request from its head to its end; times are monotonic seconds, sizes are body bytes.

    `status` 499 stands for a client that left before the response began. `secrets` is what the line about this exchange
    must not show: those of its connection, or None: any secret that is alive. `ended_at` is for whoever writes the
    line: wall time in seconds. `host_line` is the Host that the upstream was sent, as a line.
    """

    __slots__ = (
        "attempts", "bytes_in", "bytes_out", "connection", "ended_at", "host_line", "method", "renewed", "request_id",
        "seconds_token", "seconds_total", "seconds_upstream", "secrets", "status", "target",
    )  # fmt: skip

    def __init__(self, connection: str, method: bytes, target: bytes) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.status = 0
        self.attempts = 0
        self.renewed = False
        self.seconds_total = 0.0
        self.seconds_upstream = 0.0
        self.seconds_token = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.request_id = ""
        self.secrets: tuple[bytes, ...] | None = ()
        self.ended_at = 0.0
        self.host_line = b""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


def without_user(target: bytes) -> bytes:
    """Return a refused target as it may be logged: what stands before its host is a secret as often as not."""
    return target if target[:1] == b"/" else _USER.sub(rb"\1***@", target, count=1)


class Recorder(Protocol):
    """Who wants to know of each finished exchange (the access log)."""

    def record(self, exchange: ExchangeRecord) -> None:
        """Take the record of one finished exchange; must not block nor raise."""
        ...
