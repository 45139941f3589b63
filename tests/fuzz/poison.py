"""A campaign of response mutants in memory: a hostile upstream answers one request, the next ones must not notice.

The client asks three times: the mutant's request, another on the same stream, a third on a fresh one. What it gets for
each is read by h11, llhttp and Node, and has to be one response with nothing left over: the upstream's own if that was
beyond doubt, else an own answer, or a response that is visibly cut.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tests.fuzz import mutators, strict
from tests.fuzz.answering import BODY, answer, served
from tests.fuzz.campaign import BATCH, Poison, Tally, Violation
from tests.fuzz.oracles import h11_response, llhttp_response
from tests.fuzz.readings import Message, Reading, Rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.fuzz.memory import MemoryTransport, Other, Server, World
    from tests.fuzz.node import Node

MARK: Final = b"/mutant"
_HOST: Final = b"Host: 127.0.0.1:4000\r\n"
ASKED: Final = (
    b"GET /a/mutant HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /a/mutant HTTP/1.1\r\n" + _HOST + b"Connection: TE\r\nTE: trailers\r\n\r\n",
    b"HEAD /a/mutant HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /a/mutant HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
    b"GET /a/mutant HTTP/1.0\r\n" + _HOST + b"\r\n",
    b"POST /a/mutant HTTP/1.1\r\n" + _HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\nbody",
    b"GET /a/mutant HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /a/mutant HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
)
AFTERWARDS: Final = b"GET /a/afterwards HTTP/1.1\r\n" + _HOST + b"\r\n"
_OWN: Final = b"iclient-proxy; error="
# What never comes through from one hop to the next, or is ours to write.
_OF_ONE_HOP: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"proxy-status", b"location",
        b"content-location",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Got:
    """What the client got for one request; `ended` is a clean end, `cut` one that is not."""

    data: bytes
    ended: bool
    cut: bool


@dataclass(frozen=True)
class Relayed:
    """What came of one mutant: the response to its request, and those to the two after it, with their numbers."""

    poison: Poison
    first: Got
    later: tuple[tuple[Got, int], ...]

    @cached_property
    def reading(self) -> Reading:
        """What h11 reads of the first response."""
        return h11_response(self.first.data, self.poison.method, ended=self.first.ended)

    @cached_property
    def beyond_doubt(self) -> Reading:
        """What a reader without leniency reads of the upstream's bytes."""
        poison = self.poison
        return strict.response(b"".join(poison.pieces), poison.method, ended=poison.end == "fin")[0]


class Responses:
    """Asks through a world whose upstream answers with mutants."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count: list[int] = []
        self._pending: list[Server] = []
        world.serve = self._serve
        for server in world.servers:
            server.memo = None

    def _serve(self, server: Server, data: bytes) -> None:
        if MARK in data.partition(b"\r\n")[0] and self._armed:
            self._armed = False
            self._pending.append(server)
            return
        if server in self._pending:  # the body of the mutant's request
            return
        answer(server, data, self._count)

    async def send(self, poison: Poison) -> Relayed:
        """Ask three times; return what came."""
        world = self._world
        self._count.clear()
        self._pending.clear()
        self._armed = True
        client, transport = world.connect()
        transport.deliver(poison.asked)
        await world.settle()
        for server in self._pending:
            for piece in poison.pieces:
                server.transport.deliver(piece)
                await world.settle()
            if poison.end == "fin":
                server.transport.deliver_eof()
            elif poison.end == "reset":
                server.transport.lose()
        await world.settle()
        first = _got(client, transport)
        later = []
        if not (first.ended or first.cut) and not _waits(first, poison):
            self._pending.clear()
            later.append(await self._ask(client, transport))
        if transport.end != "aborted":
            transport.lose()
        await world.settle()
        self._pending.clear()
        fresh, line = world.connect()
        later.append(await self._ask(fresh, line))
        line.lose()
        await world.settle()
        world.heard()
        return Relayed(poison, first, tuple(later))

    async def _ask(self, client: Other, transport: MemoryTransport) -> tuple[Got, int]:
        client.received.clear()
        before = len(self._count)
        transport.deliver(AFTERWARDS)
        await self._world.settle()
        return _got(client, transport), self._count[-1] if len(self._count) == before + 1 else -1

    async def recover(self) -> None:
        """Begin with fresh streams."""
        await self._world.forget_streams()


def _waits(first: Got, poison: Poison) -> bool:
    """Whether the client's response is not whole yet: the next request would only wait behind it."""
    return h11_response(first.data, poison.method, ended=False).rest is Rest.PARTIAL or _is_tunnel(first, poison)


def _is_tunnel(first: Got, poison: Poison) -> bool:
    return first.data.startswith(b"HTTP/1.1 101 ") and b"Upgrade: websocket" in poison.asked


def _got(client: Other, transport: MemoryTransport) -> Got:
    aborted = transport.end == "aborted"
    return Got(bytes(client.received), (transport.fin or transport.end == "closed") and not aborted, aborted)


def judged(relayed: Relayed) -> list[str]:
    """Judge an outcome, but for Node."""
    return [*_first(relayed), *(fault for got, number in relayed.later for fault in _afterwards(got, number))]


def _first(relayed: Relayed) -> Iterator[str]:
    poison, first = relayed.poison, relayed.first
    beyond_doubt = relayed.beyond_doubt
    if _is_tunnel(first, poison):
        if not beyond_doubt.messages or beyond_doubt.messages[-1].start != (b"101",):
            yield "a tunnel although the upstream did not switch protocols beyond doubt"
        return
    reading = relayed.reading
    if reading.rest is Rest.FAULT and first.data:
        yield f"h11 refuses what the client got: {reading.why}"
        return
    if poison.method != b"HEAD":
        other = llhttp_response(first.data, ended=first.ended)
        if other.rest is not reading.rest or _comparable(other) != _comparable(reading):
            read, wanted = len(other.messages), len(reading.messages)
            yield f"llhttp reads {read} responses, h11 {wanted}, or other ones: {other.why}"
    final = _final(reading)
    if final is None:
        if first.ended and first.data:
            yield "a response that is not whole, on a stream that ended as if it were"
        if not first.data and (first.ended or first.cut):
            yield "no response at all"
        return
    if reading.rest is not Rest.NOTHING:
        yield "bytes behind the response"
    if any(value.startswith(_OWN) for value in final.values(b"proxy-status")):
        return
    theirs = _final(beyond_doubt)
    if _is_good(final) and theirs is not None and theirs.start == (b"401",):
        return  # replayed with another token
    if theirs is None or theirs.start != final.start or theirs.body != final.body or not _has_fields_of(final, theirs):
        yield f"the client got {final.start} with {len(final.body)} bytes, which the upstream did not send beyond doubt"


def _final(reading: Reading) -> Message | None:
    last = reading.messages[-1] if reading.messages else None
    return last if last is not None and not last.start[0].startswith(b"1") else None


def _has_fields_of(final: Message, theirs: Message) -> bool:
    left = iter(theirs.fields)
    return all(pair in left for pair in final.fields if pair[0] not in _OF_ONE_HOP)


def _is_good(message: Message) -> bool:
    return bool(message.values(b"x-serial"))


def _afterwards(got: Got, number: int) -> Iterator[str]:
    """The responses to good requests are their own."""
    if got.data == served(number):  # nearly always: those of good upstreams pass byte by byte
        return
    reading = h11_response(got.data, b"GET", ended=False)
    final = _final(reading)
    if final is None or reading.rest is not Rest.NOTHING or len(reading.messages) != 1:
        yield f"a good request afterwards got {got.data[:60]!r}"
    elif final.values(b"x-serial") != [b"%d" % number] or final.body != BODY or number < 0:
        yield f"a good request afterwards got a response that is not its own: {got.data[:60]!r}"


def _comparable(reading: Reading) -> list[tuple[object, ...]]:
    return [(message.start, message.fields, message.body, message.version) for message in reading.messages]


def of_node(relayed: Relayed, found: Reading) -> Iterator[str]:
    """Judge what Node's client reads of the first response."""
    reading = relayed.reading
    if found.rest is not reading.rest or _comparable(found) != _comparable(reading):
        theirs, wanted = len(found.messages), len(reading.messages)
        yield f"Node reads {theirs} responses and {found.rest.value} left over, or other ones: {found.why}"
        yield f"h11 reads {wanted} and {reading.rest.value}"


async def run(
    world: World, node: Node | None, mutants: Iterable[Poison], tell: Callable[[Tally], None] | None = None
) -> Tally:
    """Ask for all these mutants; Node, if there is one, reads what was relayed a batch at a time."""
    tally = Tally()
    asker = Responses(world)
    batch: list[Relayed] = []
    for number, poison in enumerate(mutants, 1):
        relayed = await asker.send(poison)
        faults = judged(relayed)
        count(tally, relayed)
        if faults:
            tally.violations.append(Violation(poison, tuple(faults)))
            await asker.recover()
        elif relayed.first.data and not _is_tunnel(relayed.first, poison):
            batch.append(relayed)
        if number % BATCH == 0:
            await _ask(node, batch, tally)
            if tell is not None:
                tell(tally)
    await _ask(node, batch, tally)
    return tally


def count(tally: Tally, relayed: Relayed) -> None:
    """Count what came of one mutant."""
    tally.mutants += 1
    tally.hostile += relayed.beyond_doubt.rest is not Rest.NOTHING
    tally.streams += 1
    tally.forwarded += b"\r\nProxy-Status: iclient-proxy; error=" not in relayed.first.data and bool(relayed.first.data)


async def _ask(node: Node | None, batch: list[Relayed], tally: Tally) -> None:
    if node is not None and batch:
        asked = [(each.first.data, each.poison.method, each.first.ended) for each in batch]
        for relayed, found in zip(batch, await node.responses(asked), strict=True):
            if faults := tuple(of_node(relayed, found)):
                tally.violations.append(Violation(relayed.poison, faults))
    batch.clear()


def at_random(seed: int, first: int, number: int) -> Iterator[Poison]:
    """Yield so many mutants; each is made from the seed and its own number."""
    for each in range(first, first + number):
        source = random.Random(f"responses-{seed}-{each}")
        asked = source.choice(ASKED) if source.random() < 0.6 else ASKED[0]
        end = source.choice(("open", "open", "fin", "reset"))
        yield Poison(asked, mutators.cuts(source, mutators.response(source)), end)
