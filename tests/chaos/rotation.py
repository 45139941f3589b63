"""An authorization server that rotates refresh tokens, forgives no reuse, and remembers what became of each one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.history import Happened, Kind
from tests.chaos.pacing import lasting
from tests.support.authorization_server import AuthorizationServer, error, say
from tests.support.deadline import awaiting

if TYPE_CHECKING:
    from tests.support.authorization_server import Exchange


@dataclass
class Hold:
    """How one request is held up: `arrived` is set when it is there whole, as `used` says; then it waits for the gates.

    `commits` False: the server forgets the request. `answers` False: the stream is cut instead of an answer.
    """

    commits: bool = True
    answers: bool = True
    commit: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    used: Happened | None = None


@dataclass
class _Family:
    """What grew from one seed: the generation that is good now, and whether a reuse has revoked all of them."""

    generation: int = 0
    revoked: bool = False


class RotatingServer(AuthorizationServer):
    """Each refresh token is good once; its second use revokes its family.

    With `grace` the last one may be used once more, as long as its successor was not: the answer is the same pair
    again. `latency`: seconds from a request to its commitment.

    Tokens name their family and generation: `canary-r-FAMILY-GENERATION`, `canary-a-FAMILY-GENERATION`.
    """

    def __init__(self, *, grace: bool = False, expires_in: int | None = 3600) -> None:
        super().__init__(expires_in=expires_in, default=self._rotate)
        self.grace = grace
        self.latency = 0.0
        self.history: list[Happened] = []
        self._families: dict[str, _Family] = {}
        self._holds: list[Hold] = []

    def seed(self, family: str) -> str:
        """Return the first refresh token of a new family."""
        self._families[family] = _Family()
        self._note(Kind.ISSUED, family, 0)
        return f"canary-r-{family}-0"

    def hold(self, hold: Hold) -> Hold:
        """Hold the next request up."""
        self._holds.append(hold)
        return hold

    def generation(self, family: str) -> int:
        """Return the newest generation that the server has committed to."""
        return self._families[family].generation

    def uses(self, family: str) -> list[int]:
        """Return the generations of the refresh tokens that came, in order."""
        return [each.generation for each in self.history if (each.kind, each.family) == (Kind.USED, family)]

    async def answered(self) -> None:
        """Return once the last token that the server committed to has been sent."""
        async with awaiting("the answer on its way"):
            while self.history[-1].kind is not Kind.ANSWERED:
                self._changed.clear()
                await self._changed.wait()

    async def _rotate(self, exchange: Exchange) -> None:
        form = exchange.asked.form
        assert form["grant_type"] == "refresh_token", form
        family, generation = parts(form["refresh_token"])
        by = "".join(exchange.asked.values("x-replica"))
        self._note(Kind.USED, family, generation, by)
        hold = self._holds.pop(0) if self._holds else None
        if hold is not None:
            hold.used = self.history[-1]
            hold.arrived.set()
            await hold.commit.wait()
            if not hold.commits:
                exchange.reset()
                return
        elif self.latency:
            await lasting(self.latency)
        outcome = self._commit(family, generation, by)
        if outcome is None:
            self._note(Kind.REFUSED, family, generation, by)
            await error("invalid_grant")(exchange)
            return
        if hold is not None:
            hold.committed.set()
            await hold.answer.wait()
            if not hold.answers:
                exchange.reset()
                return
        answer = {
            "access_token": f"canary-a-{family}-{outcome}",
            "refresh_token": f"canary-r-{family}-{outcome}",
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        }
        await say(200, answer)(exchange)
        self._note(Kind.ANSWERED, family, generation, by)

    def _commit(self, name: str, generation: int, by: str) -> int | None:
        """Return the generation that this one is exchanged for; None: it is refused, and so is its whole family."""
        family = self._families[name]
        if family.revoked:
            return None
        if generation == family.generation:
            family.generation += 1
        elif not (self.grace and generation == family.generation - 1):
            family.revoked = True
            return None
        self._note(Kind.COMMITTED, name, generation, by)
        return family.generation

    def _note(self, kind: Kind, family: str, generation: int, by: str = "") -> None:
        self.history.append(Happened(kind, family, generation, asyncio.get_running_loop().time(), by))
        self._changed.set()


def parts(token: str) -> tuple[str, int]:
    """Return family and generation of a token."""
    _, _, family, generation = token.split("-")
    return family, int(generation)
