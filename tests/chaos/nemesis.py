"""Disturbs three replicas and their Redis server in every way at hand, and judges what the authorization server saw.

A grant may be lost only where the server had committed to a rotation and the answer was destroyed: by a reset on its
way, or since the replica that had asked was killed, or stood still for longer than its turn lives, before it could
store what came.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.history import Kind, Verdict, judge
from tests.chaos.pacing import lasting
from tests.chaos.replicas import NAMES, Crew, crew, expired
from tests.chaos.rotation import Hold
from tests.support.deadline import eventually
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from tests.chaos.history import Happened

_EXPIRES_IN: Final = 4
_TOKEN_TOTAL: Final = "5s"
_TURN: Final = 10.0  # seconds that a turn lives: `token_total` and five
_LATENCY: Final = 0.05  # of the server, so that many a renewal is under way whenever something happens
# What was answered so long before its replica was disturbed has been stored: a save has half a second at most.
_STORED_WITHIN: Final = 1.0
_BETWEEN: Final = 1.0  # seconds of peace between two disturbances
_RECOVERED_WITHIN: Final = 45.0


@dataclass(frozen=True)
class Harm:
    """When a replica could store nothing; `until` is the same as `since` for one that was killed."""

    replica: str
    since: float
    until: float


@dataclass
class Nemesis:
    """Who disturbs. `done` counts the disturbances by name."""

    crew: Crew
    chance: random.Random
    harms: list[Harm] = field(default_factory=list)
    destroyed: set[tuple[str, int]] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)

    async def pause_longer_than_a_turn(self) -> None:
        name = self.chance.choice(NAMES)
        since = _now()
        async with self.crew.processes[name].frozen():
            await lasting(_TURN + 1)
            self.harms.append(Harm(name, since, _now()))

    async def pause_in_a_renewal(self) -> None:
        """The holder of a turn stands still, and its answer waits in the socket until another has the turn."""
        hold = self.crew.server.hold(Hold())
        await eventually("a renewal", hold.arrived.is_set)
        assert hold.used is not None
        name, since = hold.used.by, hold.used.at
        async with self.crew.processes[name].frozen():
            hold.commit.set()
            hold.answer.set()
            await lasting(_TURN + 1)
            self.harms.append(Harm(name, since, _now()))

    async def destroy_an_answer(self) -> None:
        """The server commits, and resets the stream: one more use is permitted, at once or by whoever comes next."""
        hold = self.crew.server.hold(Hold(answers=False))
        hold.commit.set()
        hold.answer.set()
        await eventually("a renewal", hold.committed.is_set)
        assert hold.used is not None
        self.destroyed.add((hold.used.family, hold.used.generation))

    async def pause_shortly(self) -> None:
        async with self.crew.processes[self.chance.choice(NAMES)].frozen():
            await lasting(self.chance.uniform(0.1, 1.5))

    async def kill_and_start(self) -> None:
        name = self.chance.choice(NAMES)
        await self._kill(name)
        await self.crew.start(name)

    async def kill_two(self) -> None:
        names = self.chance.sample(NAMES, 2)
        for name in names:
            await self._kill(name)
        await asyncio.gather(*(self.crew.start(name) for name in names))

    async def _kill(self, name: str) -> None:
        process = self.crew.processes[name]
        process.signal(signal.SIGKILL)
        self.harms.append(Harm(name, _now(), _now()))
        await process.exit_status()
        process.assert_clean()

    async def stop_and_start(self) -> None:
        name = self.chance.choice(NAMES)
        await self.crew.stop(name)
        await self.crew.start(name)

    async def set_a_clock(self) -> None:
        """The wall clock of one replica is wrong for a while: by an hour, or by a day."""
        offset = self.crew.clocks[self.chance.choice(NAMES)]
        offset.write_text(self.chance.choice(("+1h", "-1h", "+1d", "-1d")) + "\n")
        await lasting(self.chance.uniform(1.0, 6.0))
        offset.write_text("+0\n")

    async def pause_redis(self) -> None:
        async with self.crew.redis.frozen():
            await lasting(self.chance.uniform(0.3, 6.0))

    async def lose_redis(self) -> None:
        await self.crew.redis.kill()
        await lasting(self.chance.uniform(0.5, 6.0))
        await self.crew.redis.start()

    async def replace_redis(self) -> None:
        await self.crew.redis.replace()

    async def cut_streams_to_redis(self) -> None:
        await self.crew.redis.cut_streams()

    async def refuse_writes(self) -> None:
        await self.crew.redis.read_only()
        await lasting(self.chance.uniform(0.3, 4.0))
        await self.crew.redis.writable()

    def disturbances(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return all that it can do."""
        return (
            self.pause_longer_than_a_turn, self.pause_in_a_renewal, self.pause_shortly, self.destroy_an_answer,
            self.kill_and_start, self.kill_two, self.stop_and_start, *([self.set_a_clock] if self.crew.clocks else []),
            self.pause_redis, self.lose_redis, self.replace_redis, self.cut_streams_to_redis, self.refuse_writes,
        )  # fmt: skip

    async def disturb(self, rounds: int, only: Collection[str] = ()) -> None:
        """Do everything (or `only` these) so many times, in a random order, with some peace after each."""
        order = [what for what in self.disturbances() if not only or what.__name__ in only for _ in range(rounds)]
        self.chance.shuffle(order)
        for what in order:
            await what()
            self.done[what.__name__.replace("_", " ")] += 1
            await lasting(_BETWEEN)


@dataclass(frozen=True)
class Aftermath:
    """What the servers saw: `stuck` are connections that no longer serve everywhere although their grant lives."""

    done: Counter[str]
    connections: int
    rotations: int
    answers: Counter[str]
    expired: int
    verdict: Verdict
    stuck: tuple[str, ...]


async def rage(
    folder: Path, rounds: int, *, connections: int, grace: bool, seed: int, only: Collection[str] = ()
) -> Aftermath:
    """Let the nemesis do everything (or `only` these) so many times to replicas under load; see how they recover."""
    written = {f"c{number}": {"refresh_ahead": 0} if number % 2 else {} for number in range(connections)}
    async with crew(
        folder, written, expires_in=_EXPIRES_IN, grace=grace, token_total=_TOKEN_TOTAL, own_clocks=True
    ) as found:
        found.server.latency = _LATENCY
        nemesis = Nemesis(found, random.Random(seed))
        async with found.under_load():
            await lasting(_BETWEEN)
            await nemesis.disturb(rounds, only)
        lost = {each.family for each in found.server.history if each.kind is Kind.REFUSED}
        stuck = await _stuck(found, [family for family in written if family not in lost])
        history = found.server.history
        return Aftermath(
            nemesis.done,
            connections,
            sum(each.kind is Kind.COMMITTED for each in history),
            sum(found.answers.values(), Counter()),
            expired(found),
            judge(history, nemesis.destroyed | destroyed(history, nemesis.harms)),
            tuple(stuck),
        )


async def _stuck(crew: Crew, families: Sequence[str]) -> list[str]:
    """Return what does not serve within the time that recovery may take."""
    left = {(name, family) for name in NAMES for family in families}

    async def all_serve() -> bool:
        for name, family in tuple(left):
            if await crew.ask(name, family) == 200:
                left.discard((name, family))
        return not left

    try:
        await eventually("all connections to serve again", all_serve, _RECOVERED_WITHIN)
    except AssertionError:
        return [f"{family} at {name}" for name, family in sorted(left)]
    return []


def destroyed(history: Sequence[Happened], harms: Sequence[Harm]) -> set[tuple[str, int]]:
    """Return the tokens whose use was under way, or answered too lately to be stored, when their replica was harmed."""
    found: set[tuple[str, int]] = set()
    for at, used in enumerate(history):
        if used.kind is not Kind.USED:
            continue
        answered = next(
            (
                each.at
                for each in history[at:]
                if each.kind is Kind.ANSWERED and (each.family, each.generation, each.by) == _of(used)
            ),
            float("inf"),
        )
        if any(
            harm.replica == used.by and used.at <= harm.until and answered >= harm.since - _STORED_WITHIN
            for harm in harms
        ):
            found.add((used.family, used.generation))
    return found


def _of(happened: Happened) -> tuple[str, int, str]:
    return happened.family, happened.generation, happened.by


def _now() -> float:
    return asyncio.get_running_loop().time()


def figures(seen: Aftermath, words: str) -> list[Figure]:
    """Return what came of it; `words` say what the authorization server is like."""
    faults = (*seen.verdict.faults, *seen.stuck)
    return [
        Figure(
            f"disturbances of three replicas and their Redis server ({words})",
            f"{seen.done.total()}, in {seen.rotations} rotations of {seen.connections} grants",
        ),
        Figure(
            "uses beyond the one permitted, grants lost without a reason, connections that do not recover",
            str(len(faults)), "0", not faults,
        ),
        Figure(
            "requests by status; of them with a token past its end",
            ", ".join(f"{status}: {number}" for status, number in sorted(seen.answers.items())) + f"; {seen.expired}",
        ),
        Figure("second uses, and grants lost: the server had committed, and the answer was destroyed",
               f"{seen.verdict.repeated}, {seen.verdict.lost}"),
    ]  # fmt: skip
