"""What is measured, and the bar that each row has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from bench.figures import UNKNOWN, Figure, excess, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A median up to a twentieth beside its bar does not fall short: that much is noise on a shared machine. It is said.
TOLERANCE: Final = 1.05
TIMES: Final = "\N{MULTIPLICATION SIGN}"
ALL_ROUTES: Final = 1000
OFF: Final = "proxy"
ON: Final = "proxy-log"
FORWARD: Final = "proxy-forward"
WORKERS: Final = "proxy-workers"
SOME_ROUTES: Final = 100
SOME: Final = "proxy-100"
ACCELERATED_OFF: Final = "proxy-accelerated"
ACCELERATED_ON: Final = "proxy-accelerated-log"


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop: each of `connections` streams asks as soon as it is answered."""

    name: str
    title: str
    size: str
    connections: int
    tls: bool = False
    distinct: bool = True
    tunnel: bool = False  # through a tunnel, whose bytes nobody looks at
    only: tuple[str, ...] = ()  # the peers it is about; empty: all


@dataclass(frozen=True, slots=True)
class Open:
    """An open loop: `rate` requests a second, whatever becomes of them, for `seconds` at least."""

    name: str
    title: str
    size: str
    connections: int
    rate: int
    tls: bool = False
    seconds: float = 0.0
    only: tuple[str, ...] = ()  # the peers it is about; empty: all that are not special


def _closed_rows() -> tuple[Closed, ...]:
    words = {"small": "small answers", "10k": "10 KiB", "1m": "1 MiB"}
    rows = [
        Closed(
            f"{size}-{connections}{'-tls' if tls else ''}",
            f"{words[size]}, {connections} connection{'s' if connections > 1 else ''}{', TLS upstream' if tls else ''}",
            size,
            connections,
            tls,
        )
        for tls in (False, True)
        for size in words
        for connections in (64, 1, 256)
    ]
    rows.append(
        Closed("small-64-repeated", "small answers, 64 connections, repeated heads", "small", 64, distinct=False)
    )
    rows.append(
        Closed(
            "flat",
            f"small answers, 64 connections, 1 connection defined and {ALL_ROUTES:,}",
            "small",
            64,
            only=("proxy", "proxy-1000", "proxy-1000-all"),
        )
    )
    rows += [
        # All on one core: what it costs that there are several, not what it brings.
        Closed("workers", "small answers, 64 connections, workers: 1 and 2", "small", 64, only=(OFF, WORKERS)),
        Closed("forward", "small answers, 64 connections, absolute form", "small", 64, only=(OFF, FORWARD)),
        Closed(
            "intercepted",
            "small answers, 64 connections, intercepted, TLS upstream",
            "small",
            64,
            tls=True,
            only=(OFF, FORWARD),
        ),
        Closed("tunnel", "1 MiB, 16 tunnels", "1m", 16, tunnel=True, only=("haproxy-tcp", FORWARD)),
    ]
    return tuple(rows)


CLOSED: Final = _closed_rows()
OPEN: Final = (
    Open("open", "small answers, 2,000 requests/s", "small", 64, 2000),
    Open("open-tls", "small answers, 2,000 requests/s, TLS upstream", "small", 64, 2000, tls=True),
    # Each request comes alone, to cold caches; at 50 millicores the kernel's clock ticks five times a second.
    Open(
        "sidecar",
        "small answers, 500 requests/s",
        "small",
        64,
        500,
        seconds=4.0,
        only=("nginx", "envoy", OFF, ON, ACCELERATED_ON),
    ),
)
MEMORY: Final = "memory"
SESSIONS: Final = "sessions"
START: Final = "start"
QUICK: Final = (
    "small-64", "10k-64", "1m-64", "small-64-tls", "flat", "forward", "intercepted", "tunnel", "open", "sidecar",
    MEMORY, START, SESSIONS,
)  # fmt: skip
ROWS: Final[tuple[Closed | Open, ...]] = (*CLOSED, *OPEN)
NAMES: Final = (*(row.name for row in ROWS), MEMORY, START, SESSIONS)


class Measure(Enum):
    """Which figure of a row a bar is about."""

    CPU = "CPU per request"
    RATE = "MB/s"
    P99 = "ms at p99"
    MILLICORES = "millicores"
    REST = "MiB at rest"
    START = "s from exec to ready"
    IDLE = "KiB per idle stream"
    STALLED = "KiB per stalled stream"
    SESSION = "ms of CPU per intercepted session"
    TUNNEL = "KiB per idle tunnel"

    @property
    def unit(self) -> str:
        """What a figure that is no ratio is counted in."""
        return self.value.partition(" ")[0]


class Verdict(Enum):
    """How a row stands to its bar."""

    PASS = "pass"
    CLOSE = "within 5 %"
    SHORT = "short"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: the figure of `subject`, as it is or held against that of `against`, at most (or at least) `limit`.

    Latencies are held against each other by their difference, everything else by the ratio.
    """

    title: str
    row: str
    subject: str
    measure: Measure
    against: str
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        unit = self.unit
        if self.against:
            unit += f" above {self.against}" if self.by_difference else f" {self.against}"
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {unit}"

    @property
    def by_difference(self) -> bool:
        """Whether the figure is what the subject has more than the other."""
        return self.measure is Measure.P99

    @property
    def unit(self) -> str:
        """What the figure is counted in."""
        return TIMES if self.against and not self.by_difference else self.measure.unit


@dataclass(frozen=True, slots=True)
class Outcome:
    """A bar and what was measured beside it."""

    bar: Bar
    figure: Figure
    verdict: Verdict


def _costs(
    off: str,
    on: str,
    *,
    nginx: tuple[float, float],
    envoy: tuple[float, float],
    ten_kib: tuple[float, float],
    form: str = "",
) -> tuple[Bar, ...]:
    """Return the bars of one form of the product, without and with its access log, on the cost of a request."""
    rows = (
        ("small answers", "small-64", "nginx", nginx),
        ("small answers", "small-64", "envoy", envoy),
        ("10 KiB", "10k-64", "envoy", ten_kib),
    )
    return tuple(
        Bar(f"{title}{form}, CPU per request, log {how}", row, subject, Measure.CPU, against, limit)
        for title, row, against, limits in rows
        for how, subject, limit in zip(("off", "on"), (off, on), limits, strict=True)
    )


BARS: Final = (
    *_costs(OFF, ON, nginx=(1.6, 1.9), envoy=(0.6, 0.7), ten_kib=(0.8, 0.9)),
    *_costs(
        ACCELERATED_OFF, ACCELERATED_ON, nginx=(1.15, 1.4), envoy=(0.4, 0.5), ten_kib=(0.55, 0.65), form=", accelerated"
    ),
    Bar("10 KiB, CPU per request, log off", "10k-64", OFF, Measure.CPU, "nginx", 1.9),
    Bar("1 MiB, MB/s, log off", "1m-64", OFF, Measure.RATE, "nginx", 1.0, at_least=True),
    Bar("1 MiB, MB/s, log on", "1m-64", ON, Measure.RATE, "nginx", 1.0, at_least=True),
    Bar("TLS upstream, small, CPU per request, log off", "small-64-tls", OFF, Measure.CPU, "envoy", 0.85),
    Bar("TLS upstream, small, CPU per request, log on", "small-64-tls", ON, Measure.CPU, "envoy", 0.95),
    Bar("against aiohttp, small, CPU per request, log off", "small-64", OFF, Measure.CPU, "aiohttp", 0.3),
    Bar("against aiohttp, small, CPU per request, log on", "small-64", ON, Measure.CPU, "aiohttp", 0.35),
    Bar("2,000 requests/s, p99, log off", "open", OFF, Measure.P99, "nginx", 2.0),
    Bar("2,000 requests/s, p99, log on", "open", ON, Measure.P99, "nginx", 3.0),
    Bar("500 requests/s, log on", "sidecar", ON, Measure.MILLICORES, "", 60.0),
    Bar("500 requests/s, accelerated, log on", "sidecar", ACCELERATED_ON, Measure.MILLICORES, "", 60.0),
    Bar("memory at rest", MEMORY, OFF, Measure.REST, "", 56.0),
    Bar(f"exec to ready, {SOME_ROUTES} connections", START, SOME, Measure.START, "", 0.8),
    Bar("memory per idle keep-alive stream", MEMORY, OFF, Measure.IDLE, "", 4.0),
    Bar("memory per stalled stream", MEMORY, OFF, Measure.STALLED, "", 256.0),
    Bar("1,000 connections defined, one asked, CPU per request", "flat", "proxy-1000", Measure.CPU, OFF, 1.0),
    Bar("absolute form, CPU per request", "forward", FORWARD, Measure.CPU, OFF, 1.15),
    Bar("intercepted, kept alive, CPU per request", "intercepted", FORWARD, Measure.CPU, OFF, 2.0),
    Bar("new intercepted session, leaf at hand", SESSIONS, FORWARD, Measure.SESSION, "", 5.0),
    Bar("tunnels, MB/s", "tunnel", FORWARD, Measure.RATE, "haproxy-tcp", 0.9, at_least=True),
    Bar("memory per idle tunnel", SESSIONS, FORWARD, Measure.TUNNEL, "", 20.0),
)


def judge(bar: Bar, rounds: Sequence[Mapping[str, float]]) -> Outcome:
    """Compare what the rounds of `bar.row` measured, {peer: value} each, with the bar."""
    if bar.by_difference:
        found = excess(rounds, bar.subject, bar.against)
    elif bar.against:
        found = ratio(rounds, bar.subject, bar.against)
    else:
        values = [{bar.subject: each[bar.subject], "": 1.0} for each in rounds if bar.subject in each]
        found = ratio(values, bar.subject, "")
    if found == UNKNOWN or not found.known:
        return Outcome(bar, UNKNOWN, Verdict.UNKNOWN)
    if _reaches(bar, found.median, 1.0):
        return Outcome(bar, found, Verdict.PASS)
    return Outcome(bar, found, Verdict.CLOSE if _reaches(bar, found.median, TOLERANCE) else Verdict.SHORT)


def _reaches(bar: Bar, value: float, tolerance: float) -> bool:
    return value * tolerance >= bar.limit if bar.at_least else value <= bar.limit * tolerance
