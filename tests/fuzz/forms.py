"""The parts of `make fuzz` as figures: so many mutants, or as many as fit into some seconds."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz import campaign, coverage, kept, memory, poison, poisoned, sockets, splits
from tests.fuzz.campaign import Tally
from tests.fuzz.mutators import spoilt
from tests.fuzz.node import node
from tests.fuzz.targets import target
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.memory import World
    from tests.fuzz.node import Node

FOUND: Final = Path(__file__).parents[2] / "build" / "fuzz"  # for what breaks a rule, and the corpora
_CHUNK: Final = 4_000  # mutants between two looks at the clock
_SMALLEST: Final = 5  # violations that are made small; more are seldom different
_TOLD: Final = 30.0  # seconds between two words about how far it is


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a part goes on: until so many mutants, or so many seconds, whichever is given."""

    mutants: int | None
    seconds: float
    seed: int


async def requests(folder: Path, bounds: Bounds, found: Path) -> list[Figure]:
    """Mutants of requests, in memory."""
    async with node() as reader, memory.world(folder) as world:
        tally = Tally()
        for first, number in _chunks("requests", bounds, tally):
            _add(tally, await campaign.run(world, reader, campaign.at_random(bounds.seed, first, number)))
        await _keep(world, reader, tally, found)
    few = not tally.violations
    return [
        Figure(
            f"{tally.mutants:,} mutants of requests ({tally.hostile:,} not beyond doubt): rules broken",
            str(len(tally.violations)), "0", few,
        ),
        Figure("of them: hostile requests forwarded", str(tally.hostile_forwarded), "0", not tally.hostile_forwarded),
        Figure("requests forwarded; upstream streams that h11, llhttp and Node read", _both(tally)),
    ]  # fmt: skip


async def responses(folder: Path, bounds: Bounds, found: Path) -> list[Figure]:
    """Mutants of responses, in memory."""
    async with node() as reader, memory.world(folder) as world:
        tally = Tally()
        for first, number in _chunks("responses", bounds, tally):
            _add(tally, await poison.run(world, reader, poison.at_random(bounds.seed, first, number)))
        await _keep(world, reader, tally, found)
    return [
        Figure(
            f"{tally.mutants:,} mutants of responses ({tally.hostile:,} not beyond doubt): rules broken",
            str(len(tally.violations)), "0", not tally.violations,
        ),
        Figure("relayed, whole or visibly cut; the others got an own answer", f"{tally.forwarded:,}"),
    ]  # fmt: skip


async def over_sockets(folder: Path, bounds: Bounds, found: Path) -> list[Figure]:
    """Mutants of requests, over sockets and to the real process."""
    async with node() as reader, sockets.crew(folder) as crew:
        tally, answered = crew.tally, Tally()
        for first, number in _chunks("sockets", bounds, tally):
            await crew.run(reader, number * 3 // 4, bounds.seed, first)
            _add(answered, await poisoned.run(crew, reader, number // 4, bounds.seed, first))
    _keep_as_they_are(tally, found)
    _keep_as_they_are(answered, found)
    return [
        Figure(
            f"{tally.mutants:,} mutants of requests over {sockets.WORKERS} streams at a time to the real process"
            f" ({tally.hostile:,} not beyond doubt): rules broken",
            str(len(tally.violations)), "0", not tally.violations,
        ),
        Figure("of them: hostile requests forwarded", str(tally.hostile_forwarded), "0", not tally.hostile_forwarded),
        Figure("requests forwarded there; upstream streams read", _both(tally)),
        Figure(
            f"{answered.mutants:,} mutants of responses there ({answered.hostile:,} not beyond doubt): rules broken",
            str(len(answered.violations)), "0", not answered.violations,
        ),
    ]  # fmt: skip


async def every_split(folder: Path, bounds: Bounds, found: Path) -> list[Figure]:
    """The corpus, cut at every offset."""
    async with memory.world(folder) as world:
        tally = await splits.run(world)
        await _keep(world, None, tally, found)
    return [
        Figure(
            f"{tally.mutants:,} streams cut at every offset: rules broken, or other requests forwarded",
            str(len(tally.violations)), "0", not tally.violations,
        )
    ]  # fmt: skip


def one_target(name: str, bounds: Bounds, found: Path) -> list[Figure]:
    """One target, under atheris where it is there, else on mutants of its seeds."""
    if coverage.available() and bounds.mutants is None:
        ran = coverage.run(name, found, bounds.seconds, bounds.seed)
        tried, broke = ran.tried, [str(file) for file in ran.broke]
        if broke:
            _tell(ran.said[-2000:])
        how = "atheris"
    else:
        tried, broke = _on_seeds(name, bounds)
        how = "mutants of its seeds"
    for each in broke:
        _tell(f"{name}: {each}")
    return [Figure(f"{name}, {tried:,} inputs ({how}): rules broken", str(len(broke)), "0", not broke)]


def _on_seeds(name: str, bounds: Bounds) -> tuple[int, list[str]]:
    made = target(name)
    source = random.Random(f"{name}-{bounds.seed}")
    until = time.monotonic() + bounds.seconds
    broke: list[str] = []
    tried = 0
    while tried < bounds.mutants if bounds.mutants is not None else time.monotonic() < until:
        data = spoilt(source, source.choice(made.seeds))
        tried += 1
        try:
            made.check(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the rule
            broke.append(f"{type(error).__name__}: {error}: {data!r}")
    return tried, broke


def _keep_as_they_are(tally: Tally, found: Path) -> None:
    for violation in tally.violations:
        _tell(f"{kept.write(found / 'broken', violation)}: {'; '.join(violation.faults)}")


def _both(tally: Tally) -> str:
    return f"{tally.forwarded:,}; {tally.streams:,}"


def _chunks(what: str, bounds: Bounds, tally: Tally) -> Iterator[tuple[int, int]]:
    """Yield where each chunk begins and how many mutants it has, as long as there is time."""
    began = told = time.monotonic()
    for chunk in count():
        first = chunk * _CHUNK
        now = time.monotonic()
        left = _CHUNK if bounds.mutants is None else min(_CHUNK, bounds.mutants - first)
        if left <= 0 or (bounds.mutants is None and now - began > bounds.seconds):
            return
        if now - told > _TOLD:
            told = now
            _tell(f"{what}: {tally.mutants:,}, {tally.mutants / (now - began):,.0f} a second")
        yield first, left


def _add(tally: Tally, more: Tally) -> None:
    tally.mutants += more.mutants
    tally.hostile += more.hostile
    tally.forwarded += more.forwarded
    tally.hostile_forwarded += more.hostile_forwarded
    tally.streams += more.streams
    tally.violations += more.violations


async def _keep(world: World, reader: Node | None, tally: Tally, found: Path) -> None:
    """Write the violations down, the first ones made small."""
    for number, violation in enumerate(tally.violations):
        small = await kept.smallest(world, reader, violation) if number < _SMALLEST else violation
        file = kept.write(found / "broken", small)
        _tell(f"{file}: {'; '.join(small.faults)}")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
