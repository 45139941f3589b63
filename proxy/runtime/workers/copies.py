"""A worker's copy of a token: the same pure machine on a copy of the life, while the main process has the original.

What a worker decides at once (is there a token to send? is a refusal relayed?) it decides as the keeper would. What it
saw goes to the main process, and until that was heard it holds for every newer copy, too.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from proxy.access_token import Refused
from proxy.errors import TokenUnavailable
from proxy.problem import PROBLEMS
from proxy.runtime.workers.codec import unpacked_life
from proxy.tokens.lease import Moment
from proxy.tokens.lifecycle import aged, awaits_verdict, step, undisturbed_until
from proxy.tokens.states import AcceptedUpstream, Action, Demand, Life, Nothing, RefusedUpstream, holds
from proxy.tokens.waiters import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.clock import Clock
    from proxy.runtime.workers.frames import Message
    from proxy.tokens.pace import Policy


class Copies:
    """All copies of a worker, by the keeper's number; `send` takes what the main process is told."""

    def __init__(self, send: Callable[[Message], None], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        # By whoever uses them: a request that waits still wants to know what comes of a keeper that was replaced.
        self._copies: WeakValueDictionary[int, TokenCopy] = WeakValueDictionary()
        self._said = 0
        self._waits = 0
        self._waiting: dict[int, asyncio.Future[int | TokenUnavailable]] = {}

    def of(self, number: int, policy: Policy) -> TokenCopy:
        """Return the copy of that keeper's token."""
        copy = self._copies.get(number)
        if copy is None:
            copy = self._copies[number] = TokenCopy(self, number, policy, self._clock)
        return copy

    def hear(self, message: Message) -> None:
        """Take what the main process says about tokens."""
        match message:
            case {"kind": "life", "keeper": number, "life": packed, "used": used, "heard": heard}:
                copy = self._copies.get(number)
                if copy is not None:
                    copy.learn(unpacked_life(packed), used=used, heard=heard)
            case {"kind": "token", "n": which, "generation": generation}:
                self._answered(which, generation)
            case {"kind": "none", "n": which, "code": code, "detail": detail, "retry_after": seconds}:
                self._answered(which, TokenUnavailable(PROBLEMS[code], detail, retry_after=seconds))

    def say(self, kind: str, number: int, token: AccessToken, *, replayed: bool = False) -> int:
        """Tell a verdict; return its number."""
        self._said += 1
        self._send(
            {
                "kind": kind,
                "keeper": number,
                "generation": token.generation,
                "replayed": replayed,
                "said": self._said,
            }
        )
        return self._said

    def use(self, number: int) -> None:
        """Tell that a token is in use."""
        self._send({"kind": "used", "keeper": number})

    async def wait(self, number: int) -> int:
        """Wait for a token as long as the keeper lets one wait; return its generation, or raise `TokenUnavailable`."""
        self._waits += 1
        which = self._waits
        future: asyncio.Future[int | TokenUnavailable] = asyncio.get_running_loop().create_future()
        self._waiting[which] = future
        self._send({"kind": "wait", "keeper": number, "n": which})
        try:
            outcome = await future
        finally:
            if self._waiting.pop(which, None) is not None:
                self._send({"kind": "left", "n": which})
        if isinstance(outcome, TokenUnavailable):
            raise outcome
        return outcome

    def _answered(self, which: int, outcome: int | TokenUnavailable) -> None:
        future = self._waiting.pop(which, None)
        if future is not None:
            settle(future, outcome)


class TokenCopy:
    """One connection's token as a worker knows it."""

    def __init__(self, copies: Copies, number: int, policy: Policy, clock: Clock) -> None:
        self.unproven = False
        self._copies = copies
        self._number = number
        self._policy = policy
        self._monotonic, self._wall = clock.monotonic, clock.wall
        self._life = Life()
        self._latest: AccessToken | None = None
        self._token: AccessToken | None = None
        self._until = -math.inf
        self._used = False
        # What was said of tokens and not heard yet, by its number.
        self._unheard: list[tuple[int, RefusedUpstream | AcceptedUpstream]] = []

    def take(self) -> AccessToken | None:
        """Return the token to send now; None: `wait` for one. Never blocks."""
        if self._wall() < self._until:
            return self._token
        return self._take()

    async def wait(self) -> AccessToken:
        """Return the token as soon as there is one; raise `TokenUnavailable` when none comes."""
        while True:
            token = self.take()
            if token is not None:
                return token
            generation = await self._copies.wait(self._number)
            latest = self._latest
            # One that was refused here meanwhile, which the main process has not heard yet, is waited for once more.
            if latest is not None and latest.generation == generation and not self._is_spent(latest):
                return latest

    def refused(self, token: AccessToken, *, replayed: bool = False) -> Refused:
        """Take note that an upstream refused `token`; return what to do with the request."""
        actions = self._note("refused", RefusedUpstream(token, replayed), replayed=replayed)
        return Refused.RELAY if Action.RELAY in actions else Refused.RETRY

    def accepted(self, token: AccessToken) -> None:
        """Take note that an upstream accepted `token`; worth calling only while `unproven`."""
        self._note("accepted", AcceptedUpstream(token))

    def learn(self, life: Life, *, used: bool, heard: int) -> None:
        """Go on with this life, in which the verdicts up to the number `heard` are known."""
        if not isinstance(life.holding, Nothing):
            held, latest = life.holding.lease, self._latest
            if latest is not None and latest.generation == held.token.generation:
                life = replace(life, holding=replace(life.holding, lease=replace(held, token=latest)))
            else:
                self._latest = held.token
        self._unheard = [(number, event) for number, event in self._unheard if number > heard]
        at = self._moment()
        for _, event in self._unheard:
            life, _ = step(life, event, at, self._policy, Demand(used=used))
        self._life, self._used = life, used
        self._look(at)

    def _is_spent(self, token: AccessToken) -> bool:
        return any(isinstance(event, RefusedUpstream) and event.token is token for _, event in self._unheard)

    def _take(self) -> AccessToken | None:
        at = self._moment()
        self._life = aged(self._life, at)
        if holds(self._life) is not None:
            self._used = True
            self._copies.use(self._number)
        self._look(at)
        return self._token

    def _note(
        self, kind: str, event: RefusedUpstream | AcceptedUpstream, *, replayed: bool = False
    ) -> tuple[Action, ...]:
        at = self._moment()
        self._life, actions = step(self._life, event, at, self._policy, Demand(used=self._used))
        self._unheard.append((self._copies.say(kind, self._number, event.token, replayed=replayed), event))
        self._look(at)
        return actions

    def _look(self, at: Moment) -> None:
        held = holds(self._life)
        self._token = held.token if held is not None else None
        # Whether it is in use is what the main process has to know before it is due.
        self._until = undisturbed_until(self._life, at, used=True) if self._used else -math.inf
        self.unproven = awaits_verdict(self._life)

    def _moment(self) -> Moment:
        return Moment(self._monotonic(), self._wall())
