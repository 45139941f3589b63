"""A campaign of request mutants in memory: each is sent, its outcome judged, what breaks a rule kept."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fuzz import mutators, strict, verdict
from tests.fuzz.answering import answer
from tests.fuzz.memory import HOSTS
from tests.fuzz.readings import Rest
from tests.fuzz.verdict import Outcome, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fuzz.memory import Server, World
    from tests.fuzz.node import Node

BATCH = 400  # mutants between two questions to Node


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is sent to one of the listeners, in the pieces in which it arrives.

    `at_once`: the pieces and the FIN are there before any upstream says a word.
    """

    door: str
    pieces: tuple[bytes, ...]
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Poison:
    """A request, the pieces in which the upstream's response to it arrives, and how its stream ends behind them."""

    asked: bytes
    pieces: tuple[bytes, ...]
    end: str  # "open", "fin" or "reset"

    @property
    def method(self) -> bytes:
        return self.asked.partition(b" ")[0]


@dataclass(frozen=True, slots=True)
class Violation:
    """One mutant that broke a rule."""

    mutant: Mutant | Poison
    faults: tuple[str, ...]


@dataclass
class Tally:
    """What a campaign came to."""

    mutants: int = 0
    hostile: int = 0  # not all of it was beyond doubt
    forwarded: int = 0  # whole requests that reached an upstream
    hostile_forwarded: int = 0  # of them: not beyond doubt
    streams: int = 0  # upstream streams that three readers read
    violations: list[Violation] = field(default_factory=list)


class Requests:
    """Sends mutants of requests through a world, judges what upstreams hear."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count: list[int] = []
        world.serve = self._serve
        for server in world.servers:
            server.memo = None

    def _serve(self, server: Server, data: bytes) -> None:
        answer(server, data, self._count)

    async def send(self, mutant: Mutant) -> Outcome:
        """Send its pieces on a fresh stream, then FIN; return what came of it."""
        world, pieces = self._world, mutant.pieces
        self._count.clear()
        client, transport = world.connect(mutant.door)
        for piece in pieces:
            transport.deliver(piece)
            if not mutant.at_once:
                await world.settle()
        transport.deliver_eof()
        await world.settle()
        transport.lose()
        await world.settle()
        return Outcome(b"".join(pieces), world.heard(), tuple(self._count), bytes(client.received), HOSTS)

    async def recover(self) -> None:
        """Begin with fresh streams."""
        await self._world.forget_streams()


def judged(tally: Tally, outcome: Outcome) -> tuple[list[str], list[Shown]]:
    """Count an outcome and judge it, but for Node."""
    tally.mutants += 1
    tally.forwarded += len(outcome.numbered)
    tally.streams += len(outcome.heard)
    if strict.requests(outcome.sent).rest is not Rest.NOTHING:
        tally.hostile += 1
    faults, shown = verdict.requests(outcome)
    tally.hostile_forwarded += any("beyond doubt" in fault for fault in faults)
    return faults, shown


async def run(
    world: World, node: Node | None, mutants: Iterable[Mutant], tell: Callable[[Tally], None] | None = None
) -> Tally:
    """Send all these mutants; Node, if there is one, reads what was forwarded a batch at a time."""
    tally = Tally()
    sender = Requests(world)
    batch: list[tuple[Mutant, Shown]] = []
    for number, mutant in enumerate(mutants, 1):
        faults, shown = judged(tally, await sender.send(mutant))
        if faults:
            tally.violations.append(Violation(mutant, tuple(faults)))
            await sender.recover()
        batch += ((mutant, each) for each in shown)
        if number % BATCH == 0:
            await _ask(node, batch, tally)
            if tell is not None:
                tell(tally)
    await _ask(node, batch, tally)
    return tally


async def _ask(node: Node | None, batch: list[tuple[Mutant, Shown]], tally: Tally) -> None:
    if node is not None and batch:
        readings = await node.requests([shown.data for _, shown in batch])
        for (mutant, shown), reading in zip(batch, readings, strict=True):
            if faults := verdict.of_node([shown], [reading]):
                tally.violations.append(Violation(mutant, tuple(faults)))
    batch.clear()


def at_random(seed: int, first: int, number: int) -> Iterable[Mutant]:
    """Yield so many mutants; each is made from the seed and its own number."""
    for each in range(first, first + number):
        source = random.Random(f"{seed}-{each}")
        door = "forward" if each % 4 == 3 else "reverse"
        yield Mutant(door, mutators.cuts(source, mutators.requests(source, door)), at_once=source.random() < 0.3)
