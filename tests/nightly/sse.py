"""A thousand streams of events for ten minutes (W-279): none is dropped, none waits, and nothing piles up."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import until
from tests.nightly.one_stage import one_case
from tests.support.client import Client
from tests.support.deadline import awaiting
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.process import Process
    from tests.support.stage import Case
    from tests.support.upstream import Request

CLIENTS: Final = 1_000
SECONDS: Final = 600
_AT_ONCE: Final = 100
_MS: Final = 50.0
_SLOPE: Final = 1.0  # MiB in ten minutes
_SETTLING: Final = 0.2  # of the time, in which buffers get the size that they need
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Streams:
    """What the clients got. `delays` are in ms, `resident` holds seconds and bytes."""

    got: list[int] = field(default_factory=list)
    wrong: int = 0
    delays: list[float] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)

    def slope(self) -> float:
        """Return by how many MiB the process grows in ten minutes, once it has settled."""
        settled = [each for each in self.resident if each[0] >= self.resident[-1][0] * _SETTLING]
        line = statistics.linear_regression([at for at, _ in settled], [size for _, size in settled])
        return line.slope * SECONDS / (1 << 20)


async def streams(folder: Path, clients: int, events: int, pause: float) -> Streams:
    """Open so many streams of events; each sends `events`, one every `pause` seconds, at a moment of its own."""
    found = Streams()

    async def send_events(request: Request) -> None:
        request.finished = True
        loop = asyncio.get_running_loop()
        await request.send(_HEAD)
        due = loop.time() + pause * (len(case.upstream.requests) % clients) / clients
        for number in range(events):
            await until(due)
            event = b"id: %d\ndata: %.6f\n\n" % (number, loop.time())
            await request.send(b"%x\r\n%b\r\n" % (len(event), event))
            due += pause
        await request.send(b"0\r\n\r\n")
        await request.gone()

    limits = {"upstream_streams": clients + 10, "connections": clients + 100}
    # A rule that asks for bodies is no reason to wait for one that does not end (P-244).
    connection = {"auth_errors": [{"path": "error.code", "values": ["DEAD"]}]}
    async with one_case(folder, limits=limits, connection=connection) as case:
        case.upstream.always(send_events)
        opened: list[Client] = []
        while len(opened) < clients:
            opened += await asyncio.gather(*(case.connect() for _ in range(min(_AT_ONCE, clients - len(opened)))))
        looking = asyncio.create_task(_look(case.stage.process, found))
        async with awaiting("all events", 60 + 2 * events * pause):
            await asyncio.gather(
                *(_listen(case, client, found, number * pause / clients) for number, client in enumerate(opened))
            )
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        case.upstream.behave()
    return found


async def _listen(case: Case, client: Client, found: Streams, wait: float) -> None:
    loop = asyncio.get_running_loop()
    await until(loop.time() + wait)
    await client.send(case.request(target=b"/events"))
    await client.read_until(b"\r\n\r\n")
    got = 0
    while not (chunk := await client.read_until(b"\r\n")).startswith(b"0\r\n"):
        event = (await client.read_exactly(int(chunk, 16) + 2))[:-4]
        now = loop.time()
        fields = dict(line.split(b": ") for line in event.split(b"\n"))
        found.wrong += fields[b"id"] != b"%d" % got
        found.delays.append((now - float(fields[b"data"])) * 1000)
        got += 1
    found.got.append(got)


async def _look(process: Process, found: Streams) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        found.resident.append((loop.time() - began, process.resident_bytes()))
        await until(loop.time() + 1)


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Let them run; a smaller scale has fewer clients and a shorter time."""
    clients, events = max(10, round(CLIENTS * min(1.0, scale * 10))), max(10, round(SECONDS * scale))
    found = await streams(folder, clients, events, 1.0)
    whole = sum(each == events for each in found.got)
    median, late, slope = statistics.median(found.delays), _quantile(found.delays, 0.99), found.slope()
    return [
        Figure(
            f"streams of {events} events, one a second, of {clients:,}: without a gap to the end", f"{whole:,}",
            f"{clients:,}", whole == clients and found.wrong == 0,
        ),
        Figure(
            f"ms from the upstream's write of an event to the client's read, median and p99 of {len(found.delays):,}",
            f"{median:.1f}, {late:.1f}", f"p99 ≤ {_MS:g}", late <= _MS,
        ),
        Figure(
            "MiB that the process grows by in ten minutes, after the first fifth of the time", f"{slope:.2f}",
            f"< {_SLOPE:g}", slope < _SLOPE,
        ),
    ]  # fmt: skip
