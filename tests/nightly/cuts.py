"""Responses and requests cut at every byte: whoever reads what is left has to see that something is missing."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.nightly.cut_requests import cut_requests
from tests.nightly.cut_shapes import SHAPES, End, Message, Shape, read_by_h11, read_bytes
from tests.nightly.cut_stage import Door, Entrance, cutting_stage
from tests.support.deadline import awaiting, slowly
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.stage import Case
    from tests.support.upstream import Request

RESPONSES: Final = 10_240  # cuts that a reader can see; those of bodies that end with their stream come on top
FOR_EACH_CLIENT: Final = 400
_AT_ONCE: Final = 12
_PAUSE: Final = 0.002  # seconds between two pieces, so that the proxy reads them one by one


@dataclass(frozen=True)
class Cut:
    """One response that ends before byte `at`, asked for by this door of the proxy.

    `split`: where the sender pauses before, 0 for never.
    """

    number: int
    shape: Shape
    at: int
    end: End
    door: Door
    tls: bool
    split: int = 0

    @property
    def nobody_sees(self) -> bool:
        return self.shape.nobody_sees(self.at, self.end, tls=self.tls)

    def __str__(self) -> str:
        where = f"{self.shape.name} cut at {self.at} of {len(self.shape.raw)} by {self.end.value}"
        return f"{where}, {'TLS' if self.tls else 'plain'}, {self.door.value}, pause at {self.split}"


@dataclass
class Found:
    """What became of the cuts of one run."""

    visible: Counter[str] = field(default_factory=Counter)
    hidden: list[str] = field(default_factory=list)
    passed_on: int = 0
    claimed: list[str] = field(default_factory=list)  # of those passed on: where the proxy made a whole one of it

    @property
    def seen(self) -> int:
        return sum(self.visible.values()) + len(self.hidden)


def every_cut(seed: int) -> list[Cut]:
    """Return each offset of each shape by each end, by the reverse listener; every fifth by each other door, too."""
    chance = random.Random(seed)
    numbers = itertools.count()
    cuts: list[Cut] = []
    for shape in SHAPES:
        for tls, door in itertools.product((False, True), Door):
            if not door.leads_to(shape.connection, tls=tls):
                continue
            for end in (End.FIN, End.RESET, End.GOODBYE) if tls else (End.FIN, End.RESET):
                step = 1 if door is Door.REVERSE else 5
                for at in range(chance.randrange(step), len(shape.raw), step):
                    split = chance.choice((0, chance.randrange(at))) if at else 0
                    cuts.append(Cut(next(numbers), shape, at, end, door, tls, split))
    return cuts


def sampled(cuts: list[Cut], share: float, seed: int) -> list[Cut]:
    """Return a random part of the cuts."""
    if share >= 1:
        return cuts
    return random.Random(seed).sample(cuts, max(1, round(len(cuts) * share)))


class Cutter:
    """The upstream of all cuts: the number of the one it is asked for is the last part of the target."""

    def __init__(self, cuts: Iterable[Cut]) -> None:
        self.cuts = {cut.number: cut for cut in cuts}
        self._asked: Counter[int] = Counter()

    async def __call__(self, request: Request) -> None:
        await request.read_body()
        number = request.target.rpartition(b"/")[2]
        if not number.isdigit():
            await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        cut = self.cuts[int(number)]
        self._asked[cut.number] += 1
        if cut.shape.first and self._asked[cut.number] == 1:
            await request.send(cut.shape.first)
        elif cut.shape.second and self._asked[cut.number] > 1:
            await request.send(cut.shape.second)
        else:
            await self._send_cut(request, cut)

    async def _send_cut(self, request: Request, cut: Cut) -> None:
        request.finished = True
        raw = cut.shape.raw[: cut.at]
        if cut.split:
            await request.send(raw[: cut.split])
            async for _ in slowly(1, _PAUSE):
                pass
        if raw:
            await request.send(raw[cut.split :])
        if cut.split:  # what comes together with its end is another story than what was read before
            async for _ in slowly(cut.number % 2, _PAUSE):
                pass
        # The rest of a first response is not needed any more once a second attempt begins.
        if cut.shape.second and request.stream.ended.is_set():
            return
        with suppress(OSError) if cut.shape.second else nullcontext():
            if cut.end is End.RESET:
                request.reset()
            else:
                request.fin(close_notify=cut.end is End.GOODBYE)


async def read_cut(client: Client, method: bytes) -> tuple[bytes, End | None]:
    """Read until the stream ends or a whole response is there; return the bytes and how the stream ended."""
    data = bytearray()
    async with awaiting("a cut response"):
        while True:
            piece = await client.read()
            data += piece
            if not piece:
                return bytes(data), End.RESET if client.was_reset else End.FIN
            message = read_bytes(bytes(data), method, None)
            if message is not None and message.complete:
                return bytes(data), None


def judge(cut: Cut, data: bytes, end: End | None, found: Found) -> None:
    """Note what two readers make of what came."""
    method = cut.shape.method
    readers = (read_bytes(data, method, end), read_by_h11(data, method, end))
    if cut.nobody_sees and not any(message is not None and message.own for message in readers):
        found.passed_on += 1
        if not all(_is_passed_on(cut, message, end) for message in readers):
            found.claimed.append(f"{cut}: {data!r}, then {end}")
        return
    if any(_is_hidden(cut, message) for message in readers):
        found.hidden.append(f"{cut}: {data!r}, then {end}")
    else:
        own = any(message is not None and message.own for message in readers)
        found.visible["own answer" if own else "broken off" if data else "nothing"] += 1


def _is_hidden(cut: Cut, message: Message | None) -> bool:
    if message is None or message.own:
        return False
    if cut.shape.second and message.status == 200:
        return message.body != cut.shape.second.partition(b"\r\n\r\n")[2]
    return message.complete or not cut.shape.body.startswith(message.body)


def _is_passed_on(cut: Cut, message: Message | None, end: End | None) -> bool:
    """Whether a body that ends with its stream is passed on as one, with nothing that says how long it should be."""
    if message is None:
        return False
    return end is End.FIN and not message.claims_length and cut.shape.body.startswith(message.body)


async def cut_responses(folder: Path, cuts: list[Cut], seed: int) -> Found:
    """Have all of them cut, on one process."""
    cutter = Cutter(cuts)
    found = Found()
    lanes: dict[tuple[str, bool], list[Cut]] = {}
    for cut in random.Random(seed).sample(cuts, len(cuts)):
        lanes.setdefault((cut.shape.connection, cut.tls), []).append(cut)
    async with cutting_stage(folder) as entrance:
        for case in entrance.cases.values():
            case.upstream.always(cutter)
        await asyncio.gather(*(_lane(entrance, waiting, found) for waiting in lanes.values()))
    return found


async def _lane(entrance: Entrance, waiting: list[Cut], found: Found) -> None:
    # A replay makes a new token the connection's, and that has to be accepted before the next one.
    workers = 1 if waiting[0].shape.connection == "replayed" else _AT_ONCE

    async def work() -> None:
        while waiting:
            await _one(entrance, waiting.pop(), found)

    await asyncio.gather(*(work() for _ in range(workers)))


async def _one(entrance: Entrance, cut: Cut, found: Found) -> None:
    case = entrance.case(cut.shape.connection, cut.door, tls=cut.tls)
    client = await entrance.enter(cut.door, case)
    try:
        if cut.shape.connection == "replayed":
            await client.send(entrance.request(cut.door, case, b"GET", b"/good"))
            await client.read_until(b"\r\n\r\nok")
        method, fields = cut.shape.method, cut.shape.fields
        if cut.number % 3 == 0 and not fields:
            fields = (b"Connection: close",)
        target = b"/cut/%d" % cut.number
        await client.send(entrance.request(cut.door, case, method, target, *fields, version=cut.shape.version))
        judge(cut, *await read_cut(client, method), found)
    finally:
        await client.close()
        _forget_what_is_over(case)


def _forget_what_is_over(case: Case) -> None:
    """Keep no stream that came to its end as it should: one with TLS holds 256 KiB."""
    streams = case.upstream.streams
    streams[:] = [each for each in streams if not each.task.done() or each.task.cancelled() or each.task.exception()]
    case.upstream.requests.clear()


def figures(found: Found, bar: int) -> list[Figure]:
    """Return what came of the cut responses."""
    visible = ", ".join(f"{count:,} {what}" for what, count in sorted(found.visible.items()))
    return [
        Figure(f"cut responses ({visible})", f"{found.seen:,}", f"≥ {bar:,}", found.seen >= bar),
        Figure(
            "of them: that look whole, or hold other bytes than were sent", str(len(found.hidden)), "0",
            not found.hidden,
        ),
        Figure(
            f"{found.passed_on:,} bodies beside them that end properly with their stream: given another length or end",
            str(len(found.claimed)), "0", not found.claimed,
        ),
    ]  # fmt: skip


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Cut responses, responses for clients of applications, and requests."""
    from tests.nightly.cut_clients import cut_for_clients

    every = every_cut(seed)
    for name in ("responses", "clients", "requests"):
        (folder / name).mkdir()
    found = await cut_responses(folder / "responses", sampled(every, scale, seed), seed)
    rows = figures(found, round(RESPONSES * min(scale, 1)))
    rows += await cut_for_clients(folder / "clients", every, max(1, round(FOR_EACH_CLIENT * scale)), seed)
    return rows + await cut_requests(folder / "requests", scale, seed)
