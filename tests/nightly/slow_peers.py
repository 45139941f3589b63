"""Clients that send slowly, clients that read slowly, and an upstream that reads nothing."""

from __future__ import annotations

import asyncio
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import lasting
from tests.nightly import slow_crowd
from tests.nightly.good_traffic import Pace, good_traffic
from tests.nightly.one_stage import Memory, by_target, one_case, waited_ms
from tests.nightly.slow_crowd import Crowd
from tests.support.client import Client
from tests.support.deadline import awaiting, eventually, slowly
from tests.support.figures import Figure
from tests.support.scripts import response
from tests.support.upstream import listen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.stage import Case
    from tests.support.upstream import Request

SLOW: Final = 1_000
READERS: Final = 100
UPLOAD: Final = 1 << 30
LIMIT: Final = 10.0  # seconds: limits.head_timeout as it is, limits.body_idle in this part
_DOWNLOAD: Final = 10 << 20
_WINDOW: Final = 1024
_PER_STREAM: Final = 256  # KiB
_ROUNDS: Final = 3
_UPLOADS: Final = 20
_PIECE: Final = bytes(1 << 16)


async def slow_clients(folder: Path, scale: float, seconds: float = LIMIT) -> list[Figure]:
    """Let slow heads and stalled bodies come while good requests go on; `seconds` are what they are given (D-174).

    In the long form the times are those that the proxy makes: it has a core to itself, where there is a second one; the
    crowd has the other only while nobody else wants it; and whoever measures collects no garbage. Without that most of
    what is measured is the crowd's own work, which in truth is done on other machines. What still disturbs are other
    processes of this machine, so it is told how long the loop of the proxy waited for its core.
    """
    count = max(3, round(SLOW * scale))
    apart = scale >= 1
    rounds = _ROUNDS if apart else 1
    limits = {"head_timeout": f"{seconds * 1000:.0f}ms", "body_idle": f"{seconds * 1000:.0f}ms"}
    alone_each: list[Pace] = []
    beside_each: list[Pace] = []
    lasted, waited = [], []
    theirs = listen()
    others = {slow_crowd.NAME: {"base_url": f"http://127.0.0.1:{theirs.getsockname()[1]}"}}
    async with (
        one_case(folder, limits=limits, others=others, apart=apart) as case,
        Crowd.of(case.stage, theirs, count, seconds, apart=apart) as crowd,
    ):
        process = case.stage.process
        for _ in range(rounds):
            waited.append(waited_ms(process))
            async with good_traffic(case) as alone:
                await lasting(seconds)
            waited.append(waited_ms(process))
            async with good_traffic(case) as beside:
                lasted += await crowd.come()
            alone_each.append(alone)
            beside_each.append(beside)
        waited.append(waited_ms(process))
        closed = await process.metric("slow_clients_closed_total")
    without, within = (_ms(each, 0.99) for each in (alone_each, beside_each))
    ratios = [each / alone for each, alone in zip(within, without, strict=True)]
    failed = sum(pace.failed for pace in alone_each + beside_each)
    sent = sum(pace.sent for pace in alone_each + beside_each)
    stood = [after - before for before, after in pairwise(waited)]
    ratio, longest = statistics.median(ratios), max(lasted)
    wanted, gone = count * rounds, seconds + 1
    return [
        Figure(
            f"{count:,} slow clients beside 100 requests a second, {rounds} times: p99 of these, times that without",
            f"{ratio:.2f} ({_listed(ratios)})", "≤ 2", ratio <= 2,
        ),
        Figure(f"good requests that fail, of {sent:,}", str(failed), "0", failed == 0),
        Figure("seconds until the last slow client is gone", f"{longest:.2f}", f"≤ {gone:g}", longest <= gone),
        Figure("slow_clients_closed_total", f"{closed:,.0f}", f"{wanted:,}", closed == wanted),
        Figure("p99 without them, and beside them, ms", f"{_listed(without)}; {_listed(within)}"),
        Figure("the slowest, ms", f"{_listed(_ms(alone_each, 1.0))}; {_listed(_ms(beside_each, 1.0))}"),
        Figure("ms that the proxy waited for its core meanwhile", f"{_listed(stood[::2])}; {_listed(stood[1::2])}"),
    ]  # fmt: skip


def _ms(paces: list[Pace], part: float) -> list[float]:
    return [pace.quantile(part) * 1000 for pace in paces]


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in numbers)


async def slow_reads(folder: Path, scale: float, seconds: float = 20.0) -> list[Figure]:
    """Let clients with a tiny window ask for 10 MiB each and read nothing; they are given `seconds` (D-175)."""
    count = max(20, round(READERS * scale))
    async with one_case(folder, limits={"write_idle": f"{seconds * 1000:.0f}ms"}) as case:
        process = case.stage.process
        case.upstream.always(by_target({b"/large": _large}))
        async with good_traffic(case) as beside:
            await lasting(seconds / 20)
            memory = Memory(process)
            readers = [await Client.connect(process.reverse, receive_buffer=_WINDOW) for _ in range(count)]
            for client in readers:
                await client.send(case.request(target=b"/large"))
            await _until_all_are_cut(case, count, memory, seconds)
        asked = [request for request in case.upstream.requests if request.target == b"/large"]
        for request in asked:
            async with awaiting("the end of their upstream streams"):
                await request.gone()
        for client in readers:
            await client.close()
    each = memory.peak / count / 1024
    return [
        Figure(
            f"{count} clients with a window of 1 KiB that read nothing of 10 MiB: KiB of memory for each",
            f"{each:.0f}", f"≤ {_PER_STREAM}", each <= _PER_STREAM,
        ),
        Figure("of them: cut on both sides after limits.write_idle", str(len(asked)), str(count), len(asked) == count),
        Figure(f"good requests beside them that fail, of {beside.sent:,}", str(beside.failed), "0", not beside.failed),
    ]  # fmt: skip


async def _large(request: Request) -> None:
    request.finished = True
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _DOWNLOAD)
    for _ in range(_DOWNLOAD // len(_PIECE)):
        await request.send(_PIECE)
    await request.gone()


async def _until_all_are_cut(case: Case, count: int, memory: Memory, seconds: float) -> None:
    async def cut() -> bool:
        memory.look()
        return await case.stage.process.metric("slow_clients_closed_total") >= count

    await eventually("the end of all who read nothing", cut, seconds * 6)


async def unread_upload(folder: Path, scale: float) -> list[Figure]:
    """Send to an upstream that reads nothing for a while, on many streams; then let one of them through (D-181)."""
    size, count = max(1 << 24, round(UPLOAD * scale)), _UPLOADS
    reading = asyncio.Event()
    received: list[int] = []

    async def unread(request: Request) -> None:
        request.finished = True
        stream = request.stream
        stream.transport.pause_reading()
        await reading.wait()
        stream.transport.resume_reading()
        got = 0
        while got < size:
            await stream.until(lambda: bool(stream.buffer))
            got += len(stream.buffer)
            stream.buffer.clear()
        received.append(got)
        await request.send(response())

    async with one_case(folder) as case:
        case.upstream.always(by_target({b"/unread": unread}))
        memory = Memory(case.stage.process)
        sent = [0] * count
        clients = [await Client.connect(case.stage.process.reverse) for _ in range(count)]

        async def upload(number: int) -> None:
            await clients[number].send(case.request(b"Content-Length: %d" % size, method=b"PUT", target=b"/unread"))
            while sent[number] < size:
                piece = _PIECE[: size - sent[number]]
                await clients[number].send(piece)
                sent[number] += len(piece)

        uploads = [asyncio.create_task(upload(number)) for number in range(count)]
        await _until_still(sent, memory)
        stuck = sum(each < size for each in sent)
        for number in range(1, count):
            clients[number].reset()
            uploads[number].cancel()
        await asyncio.gather(*uploads[1:], return_exceptions=True)
        reading.set()
        async with awaiting("the upload", 300):
            await uploads[0]
            answered = await clients[0].response()
        memory.look()
        await clients[0].close()
    each = memory.peak / count / 1024
    return [
        Figure(
            f"{count} uploads of {size >> 20:,} MiB to an upstream that reads nothing: KiB of memory for each",
            f"{each:.0f}", f"≤ {_PER_STREAM}", each <= _PER_STREAM,
        ),
        Figure("of them: held back", str(stuck), str(count), stuck == count),
        Figure(
            "bytes of one of them that arrive once it reads", f"{sum(received):,}", f"{size:,}",
            received == [size] and answered.status == 200,
        ),
    ]  # fmt: skip


async def _until_still(sent: list[int], memory: Memory) -> None:
    """Wait until nothing has moved for a second."""
    last = -1
    while sum(sent) != last:
        last = sum(sent)
        async for _ in slowly(10, 0.1):
            memory.look()
