"""An open loop: requests leave at times drawn beforehand, whether or not earlier ones are answered.

Latency counts from the time a request was due, also when every stream was busy then, so that a stall shows in every
request that it delayed. Arrivals are random (exponential gaps, the same for every peer: the seed is fixed).

Limits: it is CPython on the core that the upstream uses, too, and wakes up some 60 µs late, so it adds about a tenth of
a millisecond to every figure; the row "direct" of the report, without a proxy, shows how much.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from bench.figures import percentile
from bench.load import head

_GIVES_UP: Final = 5.0  # seconds after the last request was due


@dataclass(slots=True)
class _Stream:
    """One connection: when its request was due, what has come of the answer."""

    socket: socket.socket
    due: float = 0.0
    data: bytearray = field(default_factory=bytearray)
    expected: int = -1


@dataclass(slots=True)
class _Tally:
    """What has happened so far; latencies in microseconds."""

    sent: int = 0
    bytes: int = 0
    failed: int = 0
    broken: int = 0
    latencies: list[float] = field(default_factory=list)


def due_times(rate: float, seconds: float) -> list[float]:
    """Return when requests are due, in seconds from the start."""
    chance = random.Random(rate)  # the same arrivals for every peer
    times: list[float] = []
    now = chance.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += chance.expovariate(rate)
    return times


def pace(port: int, path: str, times: list[float], connections: int, credential: str) -> _Tally:
    """Send one request at each of `times`; the streams are opened beforehand."""
    with ExitStack() as opened:
        streams = [_Stream(opened.enter_context(_connect(port))) for _ in range(connections)]
        requests = [head(port, path, number, credential) for number in range(len(times))]
        return _paced({stream.socket.fileno(): stream for stream in streams}, requests, times)


def _paced(streams: dict[int, _Stream], requests: list[bytes], times: list[float]) -> _Tally:
    tally = _Tally()
    idle = list(streams.values())
    waiting: deque[float] = deque()
    upcoming = deque(times)
    begun = perf_counter()
    end = times[-1] + _GIVES_UP
    while len(tally.latencies) + tally.broken < len(times):
        now = perf_counter() - begun
        if now > end:
            break
        while upcoming and upcoming[0] <= now:
            waiting.append(upcoming.popleft())
        while waiting and idle:
            stream = idle.pop()
            stream.due = waiting.popleft()
            stream.socket.send(requests[tally.sent])
            tally.sent += 1
        timeout = max(0.0, upcoming[0] - (perf_counter() - begun)) if upcoming else 0.1
        busy = [descriptor for descriptor, stream in streams.items() if stream.due]
        readable = select.select(busy, [], [], timeout)[0]
        idle += [streams[descriptor] for descriptor in readable if _read(streams[descriptor], tally, begun)]
    return tally


def _read(stream: _Stream, tally: _Tally, begun: float) -> bool:
    """Take what has come; whether the answer is whole."""
    piece = stream.socket.recv(262144)
    if not piece:
        tally.broken += 1
        stream.due = 0.0
        return False
    data = stream.data
    data += piece
    if stream.expected < 0:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return False
        fields = bytes(data[: end + 2]).lower()
        place = fields.index(b"\r\ncontent-length:") + 17
        stream.expected = end + 4 + int(fields[place : fields.index(b"\r\n", place)])
    if len(data) < stream.expected:
        return False
    tally.latencies.append((perf_counter() - begun - stream.due) * 1e6)
    tally.bytes += len(data)
    tally.failed += data[9:10] not in b"23"
    stream.due, stream.expected = 0.0, -1
    data.clear()
    return True


def _connect(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def main() -> None:
    """Print one line of JSON, in the words of `closed.lua`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("port", int), ("path", str), ("rate", float), ("seconds", float), ("connections", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--credential", default="")
    words = parser.parse_args()
    times = due_times(words.rate, words.seconds)
    begun = perf_counter()
    tally = pace(words.port, words.path, times, words.connections, words.credential)
    said = {
        "sent": tally.sent,
        "completed": len(tally.latencies),
        "bytes": tally.bytes,
        "seconds": perf_counter() - begun,
        "p50": percentile(tally.latencies, 50),
        "p99": percentile(tally.latencies, 99),
        "status": tally.failed,
        "socket": tally.broken + len(times) - tally.sent,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
