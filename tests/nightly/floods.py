"""Heads without end, interim responses without end, a million chunks of one byte."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.nightly.good_traffic import good_traffic
from tests.nightly.one_stage import Memory, by_target, cpu_seconds, one_case
from tests.support.client import Client
from tests.support.deadline import awaiting
from tests.support.figures import Figure
from tests.support.scripts import replies_early, response

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Case
    from tests.support.upstream import Request, Script

FLOODS: Final = 1_000  # of each kind
INTERIM_FLOODS: Final = 50
INTERIM: Final = 20_000
CHUNKS: Final = 1_000_000
_AT_ONCE: Final = 20
_GROWTH: Final = 16  # MiB
_CPU: Final = 2.0  # seconds for a million chunks, which are a megabyte
_MANY: Final = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
_LONG: Final = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 8_000) for number in range(10))
_HEADS: Final = {
    "200 fields": _MANY + b"\r\n",
    "80 KiB": _LONG + b"\r\n",
    "a line of 1 MiB": b"X: " + b"a" * (1 << 20),
}
_CHUNK: Final = b"1\r\na\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


async def header_floods(folder: Path, scale: float) -> list[Figure]:
    """Send heads beyond all limits from both sides (D-154, P-213)."""
    count = max(1, round(FLOODS * scale))
    found: list[Figure] = []
    async with one_case(folder) as case:
        scripts = {b"/%d" % number: _flood(head) for number, head in enumerate(_HEADS.values())}
        case.upstream.always(by_target(scripts))
        memory = Memory(case.stage.process)
        async with good_traffic(case) as beside:
            for number, (name, head) in enumerate(_HEADS.items()):
                raw = case.request(target=b"/flood")[:-2] + head
                from_clients = await _many(case, count, raw, memory)
                from_upstreams = await _many(case, count, case.request(target=b"/%d" % number), memory)
                right = from_clients.count(431), from_upstreams.count(502)
                found.append(
                    Figure(
                        f"heads with {name}, {count:,} of clients and of upstreams: answered with 431 and 502",
                        f"{right[0]:,}, {right[1]:,}", f"{count:,}, {count:,}", right == (count, count),
                    )
                )  # fmt: skip
        forwarded = sum(request.target == b"/flood" for request in case.upstream.requests)
    grown = memory.peak / (1 << 20)
    return [
        *found,
        Figure("of them: that reach an upstream", str(forwarded), "0", not forwarded),
        Figure("MiB that the process grows by in them", f"{grown:.1f}", f"≤ {_GROWTH}", grown <= _GROWTH),
        Figure(f"good requests beside them that fail, of {beside.sent:,}", str(beside.failed), "0", not beside.failed),
    ]


def _flood(head: bytes) -> Script:
    async def script(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 200 OK\r\n" + head)
        await request.gone()

    return script


async def _many(case: Case, count: int, raw: bytes, memory: Memory) -> list[int]:
    """Send the same so many times, each on a stream of its own; return the statuses, 0 for none."""
    statuses: list[int] = []

    async def some() -> None:
        while len(statuses) < count:
            statuses.append(0)
            at = len(statuses) - 1
            client = await Client.connect(case.stage.process.reverse)
            try:
                statuses[at] = (await client.ask(raw)).status
            except (AssertionError, ConnectionError):
                pass
            finally:
                await client.close()
            memory.look()

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    return statuses


async def interim_floods(folder: Path, scale: float) -> list[Figure]:
    """Let upstreams send 20,000 interim responses (P-217)."""
    count = max(1, round(INTERIM_FLOODS * scale))

    async def flood(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 102 Processing\r\n\r\n" * INTERIM)
        await request.gone()

    async with one_case(folder) as case:
        case.upstream.always(by_target({b"/flood": flood}))
        memory = Memory(case.stage.process)
        answers = []
        async with good_traffic(case) as beside:
            for _ in range(count):
                answers.append(await case.ask(case.request(target=b"/flood")))
                memory.look()
    right = sum(answer.status == 502 and len(answer.interim) <= 16 for answer in answers)
    grown = memory.peak / (1 << 20)
    return [
        Figure(
            f"{count} floods of {INTERIM:,} interim responses: answered with 502 after 16 of them at most", str(right),
            str(count), right == count,
        ),
        Figure("MiB that the process grows by in them", f"{grown:.1f}", f"≤ {_GROWTH}", grown <= _GROWTH),
        Figure(f"good requests beside them that fail, of {beside.sent:,}", str(beside.failed), "0", not beside.failed),
    ]  # fmt: skip


async def one_byte_chunks(folder: Path, scale: float) -> list[Figure]:
    """Send a million chunks of one byte each way, and to a client of HTTP/1.0 (D-124)."""
    count = max(1_000, round(CHUNKS * scale))
    body = _CHUNK * count + _LAST_CHUNK
    chunked = b"Transfer-Encoding: chunked"
    found: list[Figure] = []
    async with one_case(folder) as case:
        down = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + chunked + b"\r\n\r\n" + body
        weighed: list[int] = []

        async def weigh(request: Request) -> None:
            weighed.append(await _weight(request))
            await request.send(response())

        case.upstream.always(by_target({b"/down": replies_early(down), b"/up": weigh}))
        ask, closes = case.request(b"Connection: close", target=b"/down"), b"Connection: close"
        old = case.raw(b"GET %s/down HTTP/1.0" % case.prefix, case.host)
        up = case.request(closes, chunked, method=b"POST", target=b"/up", body=body)
        for name, raw, size in (
            ("to the client", ask, len(body)),
            ("to a client of HTTP/1.0", old, count),
            ("to the upstream", up, len(body)),
        ):
            process = case.stage.process
            memory, before = Memory(process), cpu_seconds(process)
            arrived = await _body_size(case, raw, memory)
            if name == "to the upstream":
                arrived = weighed[0]
            spent, grown = cpu_seconds(process) - before, memory.peak / (1 << 20)
            found.append(
                Figure(
                    f"{count:,} chunks of one byte {name}: seconds of CPU, MiB of growth", f"{spent:.2f}, {grown:.1f}",
                    f"≤ {_CPU:g}, ≤ {_GROWTH}", spent <= _CPU and grown <= _GROWTH and arrived == size,
                )
            )  # fmt: skip
    return found


async def _weight(request: Request) -> int:
    """Return how many bytes come up to and with the last chunk; none are kept."""
    request.finished = True
    buffer, size, tail = request.stream.buffer, 0, b""
    while not tail.endswith(_LAST_CHUNK):
        await request.stream.until(lambda: bool(buffer))
        size += len(buffer)
        tail = (tail + buffer)[-len(_LAST_CHUNK) :]
        buffer.clear()
    return size


async def _body_size(case: Case, raw: bytes, memory: Memory) -> int:
    """Send a request; return the size of what follows the response's head, up to the end of the stream."""
    client = await Client.connect(case.stage.process.reverse)
    size = 0
    async with awaiting("a million chunks", 120):
        sending = asyncio.create_task(client.send(raw))
        await client.read_until(b"\r\n\r\n")
        while data := await client.read():
            size += len(data)
            memory.look()
        await sending
    await client.close()
    return size
