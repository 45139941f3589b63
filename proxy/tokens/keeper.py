"""Keeps one connection's token: hands it out, renews it once for all who wait, hears what upstreams think of it.

`lifecycle` decides, this acts: it owns the renewal's task, one timer and the futures of those who wait. A caller that
leaves takes only its own future along; the renewal goes on.

A word on length: what is here touches the same five attributes at every step and would only be harder to follow apart.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.access_token import Refused
from proxy.oauth.failure import Failure, Outcome
from proxy.oauth.grant import Grant
from proxy.oauth.response import Issued
from proxy.tokens.consent import Consent
from proxy.tokens.journal import Journal
from proxy.tokens.lease import Moment
from proxy.tokens.lifecycle import awaits_verdict, next_start, step, wake_at
from proxy.tokens.snapshot import snapshot
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
    RefusedUpstream,
    Resting,
    Revoked,
    holds,
    last_failure,
)
from proxy.tokens.unavailable import NO_REQUEST, UNAUTHORIZED, Unavailable, closing, why

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.access_token import AccessToken
    from proxy.clock import Clock
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.issuer import Issuer
    from proxy.tokens.journal import Event
    from proxy.tokens.pace import Policy
    from proxy.tokens.renewal import Renewal
    from proxy.tokens.retries import Retries
    from proxy.tokens.snapshot import Snapshot
    from proxy.tokens.states import Event as LifeEvent

T = TypeVar("T")

# Timers of uvloop count whole milliseconds and may fire that much early: without it a look would come too soon.
_LATE: Final = 0.001


class Keeper:
    """The token of one connection. Belongs to one event loop.

    `prefetch`: seconds over which the first renewal is spread after `start`, None: the first request brings it.
    `scope` is what is asked for: an answer that grants another one is told of. `authorized` is False where a human
    has to bring a grant before anything may be asked. `hint` is said once when an upstream refuses a token.
    `chance` returns a number x with 0 ≤ x < 1. `retries` is where renewals after a failure wait for their turn.
    """

    def __init__(
        self,
        connection: str,
        issuer: Issuer,
        policy: Policy,
        *,
        clock: Clock,
        chance: Callable[[], float],
        retries: Retries,
        prefetch: float | None,
        scope: str = "",
        authorized: bool = True,
        hint: str = "",
    ) -> None:
        self.unproven = False
        self._connection = connection
        self._policy = policy
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self._chance = chance
        self._retries = retries
        self._prefetch = prefetch
        self._asked = scope
        self._journal = Journal(connection, clock.wall, hint)
        self.issuer = issuer
        self.consent = Consent(
            connection, issuer, self._journal, adopt=self._adopt, drop=self._drop, expect=self._expect
        )
        self._life = Life() if authorized else Life(errand=AuthorizationRequired(UNAUTHORIZED))
        # What `take` looks at: until then (wall time) the token is good and nothing has to be decided. The monotonic
        # clock has its say by the timer; the wall clock alone knows that the machine was suspended.
        self._token: AccessToken | None = None
        self._until = -math.inf
        self._used = False
        # Each waits until its deadline (monotonic); as all wait equally long, the oldest stands first.
        self._waiting: dict[asyncio.Future[AccessToken | Unavailable], float] = {}
        self._asking: set[asyncio.Future[Unavailable | None]] = set()
        self._flight: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] | None = None  # what a retry waits for before it asks
        # What a flight brings that began before a revocation, or before somebody authorized, is given back.
        self._epoch = 0
        # Flights, and what is given back: all that has to have ended before this has.
        self._tasks: set[asyncio.Task[None]] = set()
        self._authorizing_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._first: asyncio.TimerHandle | None = None
        self._closed = False
        self._tried = not authorized
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
        before = self._life.holding
        actions = self._advance(RefusedUpstream(token, replayed))
        if type(before) is not type(self._life.holding):
            self._journal.refused(self._life.holding)
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
        if self._turn is not None:
            _settle(self._turn, None)  # somebody asks: it waits no longer
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
        try:
            grant = await self.issuer.forget()
        finally:  # also where the store fails: the tokens are not used any more
            self._supersede()
            self._advance(Revoked())
            self._answer(self._why())
        codes = await self.issuer.give_back(grant)
        self._journal.revoked(codes)
        return codes

    async def farewell(self) -> None:
        """Give the tokens back for good, those too that a renewal still brings; the proxy is about to end."""
        await self.revoke()
        await self._settled()

    def snapshot(self) -> Snapshot:
        """Return what operators see; changes nothing."""
        at = self._moment()
        return snapshot(self._life, at, self._policy, self._demand(), renewed_at=self._renewed_at, tried=self._tried)

    # ------------------------------------------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Begin: the first token is asked for at some time within `prefetch`, for many connections begin together."""
        if self._prefetch is not None:
            loop = asyncio.get_running_loop()
            self._first = loop.call_later(self._prefetch * self._chance(), self._advance, Asked(first=True))

    async def retire(self) -> None:
        """Stop once nobody waits any more: whoever waits now gets what was asked for; a later answer is given back."""
        while self._waiting:
            await asyncio.wait(list(self._waiting))
        if self.can_revoke:
            self.issuer.abandon()
            await self.consent.settled()
            await self._settled()
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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settled(self) -> None:
        """Wait for the end of all that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

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
        asked = self._life.asked or isinstance(event, Asked)
        self._life, actions = step(self._life, event, at, self._policy, self._demand())
        if Action.START in actions and not self._closed:
            self._turn = None if asked else self._retries.turn_of(self._life)
            self._flight = self._begin(self._fly(self._epoch, self._flight, self._turn), "renewal")
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

    def _supersede(self) -> None:
        """Let what is under way be of yesterday; what still waits for its turn does not even begin."""
        self._epoch += 1
        if self._turn is not None and self._turn.cancel():
            self._flight = None

    async def _fly(self, epoch: int, before: asyncio.Task[None] | None, turn: asyncio.Future[None] | None) -> None:
        """Run one renewal to its end; whatever happens, the life hears of it, unless its epoch is over."""
        if before is not None:
            await asyncio.wait([before])  # two at once would spoil a refresh token that is good only once
        if turn is not None:
            await turn
        renewal: Renewal | None = None
        try:
            renewal = await self.issuer.renew()
            event = _event(renewal)
        except Exception as error:  # noqa: BLE001 a mistake of ours must not leave anybody waiting
            self._journal.broken(error)
            event = Failed(Failure(Outcome.OTHER_ERROR, "internal_error"), refreshable=self._life.refreshable)
        if self._flight is asyncio.current_task():
            self._flight = None
        if epoch == self._epoch and not (renewal is not None and renewal.stale):
            self._land(event)
            if renewal is not None:
                self._tell(renewal)
        elif renewal is not None:
            self._drop(renewal)
            if epoch == self._epoch:
                # What replaced it may never come, where a store fails or a device is given up: nobody waits for that.
                self._land(Failed(Failure(Outcome.OTHER_ERROR, "revoked_meanwhile"), refreshable=renewal.refreshable))

    def _drop(self, renewal: Renewal) -> None:
        """Give back what came too late, without anybody waiting for that."""
        if isinstance(renewal.result, Issued):
            late = Grant(renewal.result.refresh_token, renewal.result.access_token, renewal.held.fields)
            self._begin(self._give_back(late), "late")

    def _begin(self, work: Coroutine[None, None, None], what: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"{what}:{self._connection}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give_back(self, grant: Grant) -> None:
        try:
            codes = await self.issuer.give_back(grant)
        except Exception as error:  # noqa: BLE001 as above
            self._journal.broken(error)
        else:
            self._journal.dropped(codes)

    def _adopt(self, renewal: Renewal) -> None:
        """Take what an authorization brought, in the place of whatever there was."""
        self._supersede()
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
        self._answer(outcome)

    def _answer(self, outcome: Unavailable | None) -> None:
        """Tell operators who wait for a renewal how it ended."""
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
