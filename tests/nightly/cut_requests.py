"""Requests whose sender leaves in the middle: no upstream may ever take one of them for whole."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.nightly.cut_shapes import End, is_whole_request
from tests.nightly.cut_stage import Door, Entrance, cutting_stage
from tests.support.deadline import awaiting, eventually, slowly
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.upstream import Request

_AT_ONCE: Final = 12
_PAUSE: Final = 0.002  # seconds, so that the proxy reads what was sent before the end of it
_BODY: Final = bytes(range(97, 123)) * 4
_CHUNKED: Final = b"".join(b"1a%b\r\n%b\r\n" % (extension, _BODY[:26]) for extension in (b"", b";a=1", b"", b""))
_LENGTH: Final = b"Content-Length: %d" % len(_BODY)
_TRAILERS: Final = b"X-Sum: 1\r\n\r\n"


@dataclass(frozen=True)
class _Shape:
    name: str
    method: bytes
    fields: tuple[bytes, ...]
    framed: bytes


_SHAPES: Final = (
    _Shape("length", b"POST", (_LENGTH,), _BODY),
    _Shape("length, idempotent", b"PUT", (_LENGTH, b"X-A: 0123456789"), _BODY),
    _Shape("chunked", b"POST", (b"Transfer-Encoding: chunked",), _CHUNKED + b"0\r\n\r\n"),
    _Shape("trailers", b"PATCH", (b"Transfer-Encoding: chunked", b"Trailer: X-Sum"), _CHUNKED + b"0\r\n" + _TRAILERS),
    _Shape("expectation", b"POST", (b"Expect: 100-continue", _LENGTH), _BODY),
)


@dataclass(frozen=True)
class CutRequest:
    """One request that ends before byte `at` of its `raw` bytes."""

    number: int
    shape: _Shape
    at: int
    end: End
    door: Door
    tls: bool

    def __str__(self) -> str:
        where = f"{self.shape.name} cut at {self.at} by {self.end.value}"
        return f"{where}, {'TLS' if self.tls else 'plain'}, {self.door.value}"


@dataclass
class _Seen:
    """What the upstreams saw."""

    sent: int = 0
    begun: int = 0
    whole: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)


async def cut_requests(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Cut each request at each byte by the reverse listener, at every third one by the forward listener."""
    seen = _Seen()
    async with cutting_stage(folder) as entrance:
        waiting = list(_every(entrance, seed))
        if scale < 1:
            waiting = random.Random(seed).sample(waiting, max(1, round(len(waiting) * scale)))
        cuts = {cut.number: cut for cut in waiting}
        random.Random(seed).shuffle(waiting)
        for case in entrance.cases.values():
            case.upstream.always(_take)

        async def work() -> None:
            while waiting:
                await _leave(entrance, waiting.pop(), seen)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        await _until_all_is_over(entrance)
        for case in entrance.cases.values():
            for request in case.upstream.requests:
                seen.begun += 1
                raw = request.head + (request.raw_body or bytes(request.stream.buffer))
                if request.body_complete or is_whole_request(raw):
                    seen.whole.append(f"{cuts[_number(request)]}: {raw!r}")
            assert case.upstream.malformed == []
    return [
        Figure(
            f"cut requests, of which {seen.begun:,} had reached the upstream when their client left",
            f"{seen.sent:,}", "", seen.sent > 0,
        ),
        Figure("of them: that an upstream could take for whole", str(len(seen.whole)), "0", not seen.whole),
    ]  # fmt: skip


def _every(entrance: Entrance, seed: int) -> Iterable[CutRequest]:
    chance = random.Random(seed)
    numbers = itertools.count(10_000)  # of one length, so that no offset is another one's
    doors = (Door.REVERSE, Door.CLAIMED, Door.UNCLAIMED, Door.INTERCEPTED)
    for shape, tls, door in itertools.product(_SHAPES, (False, True), doors):
        if not door.leads_to("plain", tls=tls):
            continue
        size = len(_raw(entrance, shape, 10_000, door, tls=tls))
        step = 1 if door is Door.REVERSE else 3
        for end in (End.FIN, End.RESET):
            for at in range(chance.randrange(step), size, step):
                yield CutRequest(next(numbers), shape, at, end, door, tls)


def _raw(entrance: Entrance, shape: _Shape, number: int, door: Door, *, tls: bool) -> bytes:
    case = entrance.case("plain", door, tls=tls)
    return entrance.request(door, case, shape.method, b"/cut/%d" % number, *shape.fields) + shape.framed


async def _leave(entrance: Entrance, cut: CutRequest, seen: _Seen) -> None:
    client = await entrance.enter(cut.door, entrance.case("plain", cut.door, tls=cut.tls))
    try:
        await client.send(_raw(entrance, cut.shape, cut.number, cut.door, tls=cut.tls)[: cut.at])
        seen.sent += 1
        async for _ in slowly(cut.number % 2, _PAUSE):
            pass
        if cut.end is End.RESET:
            client.reset()
            return
        if cut.door is Door.INTERCEPTED:
            return  # TLS of a client that is asyncio's knows no half-close
        client.half_close()
        async with awaiting("the end of a stream whose client has left"):
            while await client.read():
                pass
    finally:
        with suppress(ConnectionError):
            await client.close()


async def _take(request: Request) -> None:
    request.finished = True
    await request.read_body()


async def _until_all_is_over(entrance: Entrance) -> None:
    """Wait until the proxy has given up all requests, and the upstreams have heard of it."""

    async def at_rest() -> bool:
        return await entrance.stage.process.metric("in_flight_requests") == 0

    await eventually("the end of all requests", at_rest)
    for case in entrance.cases.values():
        for request in case.upstream.requests:
            async with awaiting("the end of a request that was cut"):
                await request.gone()


def _number(request: Request) -> int:
    return int(request.target.rpartition(b"/")[2])
