"""What processes have counted, as messages, and its sum. Pure.

A worker hands over what it has counted since it began, so that a hand-over that is lost costs nothing; what one that
has ended had handed over last is kept, so that no counter goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from proxy.exchange.record import ConnectionCounters, ProcessCounters
    from proxy.histogram import Histogram
    from proxy.runtime.workers.frames import Message

_STEP: Final = 50  # connections in one message: the loop does it within a millisecond


@dataclass(slots=True)
class Machine:
    """What one process takes of the machine: resident bytes, seconds of CPU, open files; lines it could not write."""

    resident: int = 0
    cpu: float = 0.0
    files: int = 0
    lines_dropped: int = 0


@dataclass(slots=True)
class Tally:
    """What one worker has handed over last."""

    process: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)

    def take(self, message: Message) -> None:
        """Take one of the messages that `messages` made."""
        if "process" in message:
            self.process = dict(message["process"])
            self.machine = Machine(**message["machine"])
        self.connections.update(message.get("connections", {}))


def messages(
    process: ProcessCounters, connections: Iterable[ConnectionCounters], machine: Machine
) -> Iterator[Message]:
    """Yield what has been counted, in pieces; connections without a request are left out."""
    yield {
        "kind": "count",
        "process": process_row(process),
        "machine": {
            "resident": machine.resident,
            "cpu": machine.cpu,
            "files": machine.files,
            "lines_dropped": machine.lines_dropped,
        },
    }
    piece: dict[str, Any] = {}
    for each in connections:
        if not each.requests and not each.auth_errors:
            continue
        piece[each.connection] = row(each)
        if len(piece) == _STEP:
            yield {"kind": "count", "connections": piece}
            piece = {}
    yield {"kind": "count", "connections": piece, "last": True}


def process_row(process: ProcessCounters) -> dict[str, Any]:
    """Return the counters of a process as they are handed over."""
    return {
        "overhead": _histogram(process.overhead),
        "loop_lag": _histogram(process.loop_lag),
        "in_flight": process.in_flight,
        "tunnels_open": process.tunnels_open,
        "memory_pressure": process.memory_pressure,
        "local_replies": dict(process.local_replies),
        "slow_clients_closed": process.slow_clients_closed,
        "loop_stalls": process.loop_stalls,
    }


def add_process(into: ProcessCounters, counted: dict[str, Any], *, alive: bool) -> None:
    """Add what a worker has counted; what goes up and down counts only while it is `alive`."""
    if not counted:
        return
    _add(into.overhead, counted["overhead"])
    _add(into.loop_lag, counted["loop_lag"])
    for code, count in counted["local_replies"].items():
        into.local_replies[code] = into.local_replies.get(code, 0) + int(count)
    into.slow_clients_closed += int(counted["slow_clients_closed"])
    into.loop_stalls += int(counted["loop_stalls"])
    if alive:
        into.in_flight += int(counted["in_flight"])
        into.tunnels_open += int(counted["tunnels_open"])
        into.memory_pressure = max(into.memory_pressure, int(counted["memory_pressure"]))


def add_connection(into: ConnectionCounters, counted: dict[str, Any]) -> None:
    """Add what a worker has counted of one connection."""
    for status, count in counted["requests"].items():
        into.requests[int(status)] = into.requests.get(int(status), 0) + int(count)
    _add(into.duration, counted["duration"])
    _add(into.upstream, counted["upstream"])
    for name, own in (("auth_errors", into.auth_errors), ("replays", into.replays)):
        for word, count in counted[name].items():
            own[word] = own.get(word, 0) + int(count)


def row(counters: ConnectionCounters) -> dict[str, Any]:
    """Return the counters of one connection as they are handed over."""
    return {
        "requests": {str(status): count for status, count in counters.requests.items()},
        "duration": _histogram(counters.duration),
        "upstream": _histogram(counters.upstream),
        "auth_errors": dict(counters.auth_errors),
        "replays": dict(counters.replays),
    }


def _histogram(histogram: Histogram) -> list[Any]:
    return [list(histogram.counts), histogram.total]


def _add(into: Histogram, counted: list[Any]) -> None:
    counts, total = counted
    for place, count in enumerate(counts[: len(into.counts)]):
        into.counts[place] += int(count)
    into.total += float(total)
