"""An authorization server away for a third of a token's life: real keeper, real sockets, a time that is moved."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from proxy.definitions.settings import Limits
from proxy.errors import TokenUnavailable
from tests.chaos.moved_time import MovedLoop, run
from tests.chaos.pacing import until
from tests.support.authorization_server import AuthorizationServer, End, raw, respond, token
from tests.support.figures import Figure
from tests.tokens.kept import connection_to, kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LIFETIMES: Final = (60, 90, 120, 180, 300, 600, 900, 1800, 3600, 5400, 7200)
PACE: Final = 1.0  # seconds from one request to the next: the connection is in use all the time
NOTICED_WITHIN: Final = 10.0
_AFTERWARDS: Final = 120.0  # seconds that are watched after the outage, at least


class Mode(StrEnum):
    """How the server is away."""

    REFUSED = "refused"
    FAILING = "500"
    SILENT = "time-out"
    RESET = "reset"


@dataclass(frozen=True)
class Outage:
    """One run: a third of `lifetime` (seconds) without the server, from `phase` of the first token's life on."""

    lifetime: int
    phase: float
    mode: Mode
    seed: int


@dataclass
class Seen:
    """What requests and the server saw. `noticed`: seconds until a token came after it was back, None: none was due."""

    outage: Outage
    requests: int = 0
    failed: int = 0
    longest_wait: float = 0.0
    attempts: int = 0
    noticed: float | None = None


class Server(AuthorizationServer):
    """The scripted server, which can go and come back. `issued` holds the loop's times at which a token left."""

    async def __aenter__(self) -> Self:
        self.issued: list[float] = []
        self.default = self._issue
        return await super().__aenter__()

    async def _issue(self, exchange) -> None:
        await token()(exchange)
        self.issued.append(asyncio.get_running_loop().time())

    async def go(self, mode: Mode) -> None:
        match mode:
            case Mode.REFUSED:
                self._server.close()
            case Mode.FAILING:
                self.default = respond(503)
            case Mode.SILENT:
                self.default = raw(End.STALL)
            case Mode.RESET:
                self.default = raw(End.RESET)

    async def come_back(self, mode: Mode) -> None:
        if mode is Mode.REFUSED:
            self._server = await asyncio.start_server(self._accept, self.host, self.port, backlog=1024)
        self.default = self._issue


async def _lived(outage: Outage) -> Seen:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovedLoop)
    seen = Seen(outage)
    chance = random.Random(outage.seed)
    async with (
        Server(expires_in=outage.lifetime) as server,
        kept(connection_to(server), limits=Limits(), clock=loop, seed=outage.seed) as keeper,
    ):
        loop.settled()
        await keeper.wait()
        begun = loop.time()
        away = begun + outage.phase * outage.lifetime
        back = away + outage.lifetime / 3

        async def one() -> None:
            asked = loop.time()
            seen.requests += 1
            try:
                keeper.take() or await keeper.wait()
            except TokenUnavailable:
                seen.failed += 1
            seen.longest_wait = max(seen.longest_wait, loop.time() - asked)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_misbehave(server, outage.mode, away, back), name="outage")
            at = begun + chance.random() * PACE
            while at < back + max(outage.lifetime, _AFTERWARDS):
                await until(at)
                tasks.create_task(one(), name="request")
                at += PACE
        seen.attempts = sum(number for (_, how), number in keeper.counters.requests.items() if how != "ok")
        if seen.attempts:  # only who asked in vain has something to notice
            seen.noticed = next((at - back for at in server.issued if at >= back), None)
    return seen


async def _misbehave(server: Server, mode: Mode, away: float, back: float) -> None:
    await until(away)
    await server.go(mode)
    await until(back)
    await server.come_back(mode)


def lived(outage: Outage) -> Seen:
    """Live through one outage."""
    return run(_lived(outage))


def grid(lifetimes: Sequence[int], phases: int) -> Iterator[Outage]:
    """Yield outages of each mode at so many phases, evenly over the token's life, for each lifetime."""
    for number, (lifetime, phase, mode) in enumerate(itertools.product(lifetimes, range(phases), Mode)):
        yield Outage(lifetime, phase / phases, mode, seed=number)


def at_random(number: int, seed: int) -> Iterator[Outage]:
    """Yield so many outages of any lifetime between a minute and two hours, any phase and mode."""
    chance = random.Random(seed)
    for _ in range(number):
        lifetime = round(math.exp(chance.uniform(math.log(LIFETIMES[0]), math.log(LIFETIMES[-1]))))
        yield Outage(lifetime, chance.random(), chance.choice(list(Mode)), chance.randrange(1 << 30))


def on_the_edge(number: int, seed: int) -> Iterator[Outage]:
    """Yield outages that begin when a token of a minute or two is about to be due: it hardly lasts to their end."""
    chance = random.Random(seed)
    for _ in range(number):
        yield Outage(chance.randint(60, 150), chance.uniform(0.5, 0.61), Mode.SILENT, chance.randrange(1 << 30))


def figures(seen: Sequence[Seen]) -> list[Figure]:
    """Return what came of these outages."""
    failed = sum(each.failed for each in seen)
    noticed = [each.noticed for each in seen if each.noticed is not None]
    unnoticed = sum(each.attempts > 0 and each.noticed is None for each in seen)
    latest = max(noticed, default=0.0)
    return [
        Figure(
            f"requests that fail in {len(seen)} outages of a third of a token's life "
            f"({sum(each.requests for each in seen)} requests)",
            str(failed), "0", failed == 0,
        ),
        Figure(
            f"seconds from the server's return to the first token, at most (in {len(noticed)} outages one was due)",
            f"{latest:.2f}", f"≤ {NOTICED_WITHIN:g}", round(latest, 2) <= NOTICED_WITHIN and not unnoticed,
        ),
        Figure("seconds that a request waits, at most", f"{max(each.longest_wait for each in seen):.2f}"),
    ]  # fmt: skip
