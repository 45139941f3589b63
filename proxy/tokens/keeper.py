"""Keeps one connection's token: hands it out, renews it once for all who wait, hears what upstreams think of it.

`lifecycle` decides, this acts: it owns the renewal's task, one timer and the futures of those who wait. A caller that
leaves takes only its own future along; the renewal goes on.

A word on length: what is here touches the same five attributes at every step and would only be harder to follow apart.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.access_token import Refused
from proxy.oauth.failure import Failure, Outcome
from proxy.oauth.response import Issued
from proxy.tokens.consent import Consent
from proxy.tokens.journal import Journal
from proxy.tokens.lease import Moment
from proxy.tokens.lifecycle import aged, awaits_verdict, next_renewal, next_start, step, wake_at
from proxy.tokens.states import (
    AcceptedUpstream,
    Action,
    Asked,
    AuthorizationRequired,
    Demand,
    Failed,
    Flying,
    Landed,
    Life,
    Looked,
    Nothing,
    RefusedUpstream,
    Resting,
    Revoked,
    holds,
    last_failure,
    state_of,
)
from proxy.tokens.unavailable import NO_REQUEST, Unavailable, closing, why

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.clock import Clock
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.issuer import Issuer, Renewal
    from proxy.tokens.journal import Event
    from proxy.tokens.pace import Policy
    from proxy.tokens.states import Event as LifeEvent
    from proxy.tokens.states import State

T = TypeVar("T")

# Timers of uvloop count whole milliseconds and may fire that much early: without it a look would come too soon.
_LATE: Final = 0.001


class NextAction(Enum):
    """What happens next, for operators."""

    NOTHING = "nothing"
    RENEWING = "renewing"
    RENEW = "renew"
    RETRY = "retry"
    AUTHORIZE = "authorize"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection's token as operators see it; times are wall seconds.

    `expires_at` is what the server said, None where it did not or nothing is held. `tried`: an attempt has ended.
    `had_token`: there has been a token. `last_error` is a code of ours.
    """

    state: State
    expires_at: float | None
    last_renewal_at: float | None
    last_error: str | None
    next_action: NextAction
    next_attempt_at: float | None
    tried: bool
    had_token: bool


class Keeper:
    """The token of one connection. Belongs to one event loop.

    `prefetch`: seconds over which the first renewal is spread after `start`, None: the first request brings it.
    `scope` is what is asked for: an answer that grants another one is told of.
    `chance` returns a number x with 0 ≤ x < 1.
    """

    def __init__(
        self,
        connection: str,
        issuer: Issuer,
        policy: Policy,
        *,
        clock: Clock,
        chance: Callable[[], float],
        prefetch: float | None,
        scope: str = "",
    ) -> None:
        self.unproven = False
        self._connection = connection
        self._policy = policy
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self._chance = chance
        self._prefetch = prefetch
        self._asked = scope
        self._journal = Journal(connection, clock.wall)
        self.issuer = issuer
        self.consent = Consent(connection, issuer, self._journal, adopt=self._adopt, expect=self._expect)
        self._life = Life()
        # What `take` looks at: until then (wall time) the token is good and nothing has to be decided. The monotonic
        # clock has its say by the timer; the wall clock alone knows that the machine was suspended.
        self._token: AccessToken | None = None
        self._until = -math.inf
        self._used = False
        # Each waits until its deadline (monotonic); as all wait equally long, the oldest stands first.
        self._waiting: dict[asyncio.Future[AccessToken | Unavailable], float] = {}
        self._asking: set[asyncio.Future[Unavailable | None]] = set()
        self._flight: asyncio.Task[None] | None = None
        # What a flight brings that began before a revocation, or before somebody authorized, is given back.
        self._epoch = 0
        self._authorizing_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._first: asyncio.TimerHandle | None = None
        self._closed = False
        self._tried = False
        self._renewed_at: float | None = None

    @property
    def counters(self) -> TokenCounters:
        """The token requests so far."""
        return self.issuer.counters

    @property
    def events(self) -> tuple[Event, ...]:
        """The last things that happened to the token, the newest first."""
        return self._journal.events

    @property
    def can_revoke(self) -> bool:
        """The authorization server is known to take tokens back."""
        return self.issuer.can_revoke

    @property
    def skew(self) -> float:
        """How far the authorization server's clock is ahead of ours, in seconds; 0 within half a minute."""
        return self.issuer.skew

    # ------------------------------------------------------------------------------------------------- the data path

    def take(self) -> AccessToken | None:
        """Return the token to send now; None: `wait` for one. Never blocks; a use keeps the token renewed ahead."""
        if self._wall() < self._until:
            self._used = True
            return self._token
        return self._take()

    async def wait(self) -> AccessToken:
        """Return the token as soon as there is one, within `token_wait`; raise `TokenUnavailable` when none comes."""
        token = self.take()
        if token is not None:
            return token
        if self._closed:
            raise closing().refusal()
        future: asyncio.Future[AccessToken | Unavailable] = asyncio.get_running_loop().create_future()
        first = not self._waiting
        self._waiting[future] = self._monotonic() + self._policy.token_wait
        if first:
            self._advance(Looked())
        try:
            outcome = await future
        finally:
            self._waiting.pop(future, None)
        if isinstance(outcome, Unavailable):
            raise outcome.refusal()
        return outcome

    def refused(self, token: AccessToken, *, replayed: bool = False) -> Refused:
        """Take note that an upstream refused `token`; return what to do with the request.

        `replayed`: this request had been refused once before, with an earlier token.
        """
        actions = self._advance(RefusedUpstream(token, replayed))
        return Refused.RELAY if Action.RELAY in actions or self._closed else Refused.RETRY

    def accepted(self, token: AccessToken) -> None:
        """Take note that an upstream accepted `token`; worth calling only while `unproven`."""
        self._advance(AcceptedUpstream(token))

    # ------------------------------------------------------------------------------------------------------ operators

    async def renew(self) -> None:
        """Renew now, whatever back-off or brake say; return when it is done, raise `TokenUnavailable` when it failed.

        What the server asked for by `Retry-After` is obeyed.
        """
        if not isinstance(self._life.errand, Flying):
            self._advance(Asked())
            start = next_start(self._life, self._policy, waiting=True)
            if self._closed or start > self._monotonic() + self._policy.token_wait:
                raise self._why().refusal()
        future: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()
        self._asking.add(future)
        try:
            outcome = await future
        finally:
            self._asking.discard(future)
        if outcome is not None:
            raise outcome.refusal()

    async def revoke(self) -> tuple[str, ...]:
        """Give the tokens back and forget them; return for each what became of it.

        What a renewal brings that is under way now is given back when it comes.
        """
        held = None if isinstance(self._life.holding, Nothing) else self._life.holding.lease.token.value
        self._epoch += 1
        self._advance(Revoked())
        codes = await self.issuer.revoke(held)
        self._journal.revoked(codes)
        return codes

    def snapshot(self) -> Snapshot:
        """Return what operators see; changes nothing."""
        at = self._moment()
        life = aged(self._life, at)
        failure = last_failure(life)
        held = holds(life)
        expires = math.inf if held is None else held.expires.wall
        start = next_renewal(life, at, self._policy, self._demand())
        match life.errand:
            case Flying():
                action = NextAction.RENEWING
            case AuthorizationRequired():
                action = NextAction.AUTHORIZE
            case _ if math.isinf(start):
                action = NextAction.NOTHING
            case Resting():
                action = NextAction.RENEW
            case _:
                action = NextAction.RETRY
        return Snapshot(
            state=state_of(life),
            expires_at=expires if math.isfinite(expires) else None,
            last_renewal_at=self._renewed_at,
            last_error=None if failure is None or failure.code in NO_REQUEST else failure.code,
            next_action=action,
            next_attempt_at=at.wall + start - at.monotonic if math.isfinite(start) else None,
            tried=self._tried,
            had_token=not isinstance(life.holding, Nothing),
        )

    # ------------------------------------------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Begin: the first token is asked for at some time within `prefetch`, for many connections begin together."""
        if self._prefetch is not None:
            loop = asyncio.get_running_loop()
            self._first = loop.call_later(self._prefetch * self._chance(), self._advance, Asked(first=True))

    async def retire(self) -> None:
        """Stop once nobody waits any more: whoever waits now gets what was asked for; a later answer is dropped."""
        while self._waiting:
            await asyncio.wait(list(self._waiting))
        await self.close()

    async def close(self) -> None:
        """Stop: nothing is renewed any more, those who wait are told so. A token that serves goes on serving."""
        self._closed = True
        self._set_timer(math.inf)
        if self._first is not None:
            self._first.cancel()
        await self.consent.close()
        for future in self._waiting:
            _settle(future, closing())
        for asked in self._asking:
            _settle(asked, closing())
        if self._flight is not None:
            self._flight.cancel()
            with suppress(asyncio.CancelledError):
                await self._flight

    # --------------------------------------------------------------------------------------------------------- inside

    def _take(self) -> AccessToken | None:
        if self._flight is not None and self._token is None:
            return None  # thousands may come while the first renewal is under way: nothing to decide until it ends
        self._used = True
        self._advance(Looked())
        return self._token

    def _advance(self, event: LifeEvent) -> tuple[Action, ...]:
        """Let `event` change the life, and do what follows from it."""
        at = self._moment()
        self._life, actions = step(self._life, event, at, self._policy, self._demand())
        if Action.START in actions and not self._closed:
            self._flight = asyncio.get_running_loop().create_task(
                self._fly(self._epoch, self._flight), name=f"renewal:{self._connection}"
            )
        held = holds(self._life)
        if held is None:
            self._token, self._until = None, -math.inf
        else:
            # Once a renewal is in hand, or the timer will begin one, only the token's end matters.
            resting = isinstance(self._life.errand, Resting)
            first = held.due if resting and not (self._used and held.due.passed(at)) else held.unusable
            self._token, self._until = held.token, first.wall
        self.unproven = awaits_verdict(self._life)
        self._attend(at)
        return actions

    def _attend(self, at: Moment) -> None:
        """Answer those who need not wait any longer, and set the timer for what comes next."""
        if self._token is not None:
            self._used = self._used or bool(self._waiting)
            waiting, self._waiting = self._waiting, {}
            for future in waiting:
                _settle(future, self._token)
        elif self._waiting:
            hope = next_start(self._life, self._policy, waiting=True)
            if at.monotonic < self._authorizing_until:
                hope = at.monotonic  # somebody is at it
            reason = None
            for future, deadline in list(self._waiting.items()):
                if at.monotonic < deadline and hope <= deadline:
                    break
                reason = reason or why(self._life, at.monotonic, self._policy)
                del self._waiting[future]
                _settle(future, reason)
        if not self._closed:
            deadline = next(iter(self._waiting.values()), math.inf)
            self._set_timer(min(wake_at(self._life, at, self._policy, self._demand()), deadline), at.monotonic)

    def _set_timer(self, when: float, now: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if math.isfinite(when):
            delay = max(when - now, 0.0) + _LATE
            self._timer = asyncio.get_running_loop().call_later(delay, self._advance, Looked())

    async def _fly(self, epoch: int, before: asyncio.Task[None] | None) -> None:
        """Run one renewal to its end; whatever happens, the life hears of it, unless its epoch is over."""
        if before is not None:
            await asyncio.wait([before])  # two at once would spoil a refresh token that is good only once
        try:
            renewal = await self.issuer.renew()
        except Exception as error:  # noqa: BLE001 a mistake of ours must not leave anybody waiting
            self._journal.broken(error)
            if epoch == self._epoch:
                self._flight = None
                self._land(Failed(Failure(Outcome.OTHER_ERROR, "internal_error"), refreshable=self._life.refreshable))
            return
        if epoch == self._epoch:
            self._flight = None
            self._land(_event(renewal))
            self._tell(renewal)
        elif isinstance(renewal.result, Issued):
            await self.issuer.give_back(renewal.result.refresh_token, renewal.result.access_token)
            self._journal.note("dropped", "a token that came too late was given back")

    def _adopt(self, renewal: Renewal) -> None:
        """Take what an authorization brought, in the place of whatever there was."""
        self._epoch += 1
        self._authorizing_until = -math.inf
        self._land(_event(renewal))
        self._tell(renewal)

    def _expect(self, seconds: float) -> None:
        """Let requests wait for an authorization, for that long."""
        self._authorizing_until = self._monotonic() + seconds if seconds else -math.inf
        self._advance(Looked())

    def _land(self, event: LifeEvent) -> None:
        self._tried = True
        self._used = False
        generation = self._life.generation
        self._advance(event)
        if self._life.generation != generation:
            self._renewed_at = self._wall()
            outcome = None
        else:
            outcome = self._why()
        asking, self._asking = self._asking, set()
        for future in asking:
            _settle(future, outcome)

    def _tell(self, renewal: Renewal) -> None:
        """Have the line of a renewal written; a token that was not taken has left its reason."""
        failure = last_failure(self._life)
        if isinstance(renewal.result, Issued) and failure is None:
            self._journal.renewed(renewal, renewal.result, self._asked)
            return
        wait = next_start(self._life, self._policy, waiting=bool(self._waiting)) - self._monotonic()
        found = renewal.result if isinstance(renewal.result, Failure) else failure
        if found is not None and found.code not in NO_REQUEST:
            self._journal.failed(renewal, found, round(max(wait, 0.0), 1) if math.isfinite(wait) else None)

    def _demand(self) -> Demand:
        return Demand(waiting=bool(self._waiting), used=self._used)

    def _moment(self) -> Moment:
        return Moment(self._monotonic(), self._wall(), self._chance())

    def _why(self) -> Unavailable:
        return closing() if self._closed else why(self._life, self._monotonic(), self._policy)


def _event(renewal: Renewal) -> LifeEvent:
    """Return a renewal in the words of a life."""
    result = renewal.result
    if isinstance(result, Failure):
        return Failed(result, renewal.refreshable)
    return Landed(
        result.access_token,
        result.lifetime,
        renewal.asked_at,
        renewal.refreshable,
        renewal.held.fields,
        renewal.held.callback,
    )


def _settle(future: asyncio.Future[T], outcome: T) -> None:
    if not future.done():
        future.set_result(outcome)
