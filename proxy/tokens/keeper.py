"""Keeps one connection's token: hands it out, renews it once for all who wait, hears what upstreams think of it.

`lifecycle` decides, this acts: it owns the renewal's task, one timer and the futures of those who wait. A caller that
leaves takes only its own future along; the renewal goes on.

A word on length: what is here touches the same five attributes at every step and would only be harder to follow apart.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from proxy.access_token import Refused
from proxy.oauth.failure import Failure, Outcome
from proxy.oauth.response import Issued
from proxy.tokens.alarm import Alarm
from proxy.tokens.consent import Consent
from proxy.tokens.hearing import Hearing
from proxy.tokens.journal import Journal
from proxy.tokens.late import Late
from proxy.tokens.lease import Moment
from proxy.tokens.lifecycle import awaits_verdict, is_known, next_start, step, undisturbed_until, wake_at
from proxy.tokens.renewal import STORE_UNAVAILABLE, event_of
from proxy.tokens.snapshot import snapshot
from proxy.tokens.states import (
    AcceptedUpstream,
    Action,
    Asked,
    AuthorizationRequired,
    Demand,
    Failed,
    Flying,
    Life,
    Looked,
    RefusedUpstream,
    Regained,
    Revoked,
    holds,
    last_failure,
)
from proxy.tokens.unavailable import NO_REQUEST, UNAUTHORIZED, Unavailable, closing, why
from proxy.tokens.waiters import Waiters, settle

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Keeper:
    """The token of one connection. Belongs to one event loop.

    `prefetch`: seconds over which the first renewal is spread after `start`, None: the first request brings it.
    `scope` is asked for: an answer that grants another one is told of. `authorized` is False where a human has to bring
    a grant first. `hint` is said once when an upstream refuses a token, `remedy()` tells what brings a grant from
    outside. `chance` returns x with 0 ≤ x < 1. Renewals after a failure wait in `retries`. `before` is the keeper that
    this one replaces, with the same grant.
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
        remedy: Callable[[], str] = str,
        before: Keeper | None = None,
    ) -> None:
        self.unproven = False
        self._connection = connection
        self._policy = policy
        self._monotonic, self._wall = clock.monotonic, clock.wall
        self._chance = chance
        self._retries = retries
        self._prefetch = prefetch
        self._asked = scope
        self._journal = Journal(connection, clock.wall, hint, remedy)
        self.issuer = issuer
        self._late = Late(connection, issuer, self._journal)
        self.consent = Consent(
            connection, issuer, self._journal, adopt=self._adopt, drop=self._late.drop, expect=self._expect
        )
        self._hearing = Hearing(connection, issuer, self._journal, self._learn)
        self._before = before
        self.heir: Keeper | None = None  # who keeps this grant from now on: what is under way here is stored for him
        self._life = Life() if authorized else Life(errand=AuthorizationRequired(UNAUTHORIZED))
        # What `take` looks at: until then (wall time) the token is good and nothing has to be decided. The monotonic
        # clock has its say by the timer; the wall clock alone knows that the machine was suspended.
        self._token: AccessToken | None = None
        self._until = -math.inf
        self._used = False
        self._waiting = Waiters()
        self._asking: set[asyncio.Future[Unavailable | None]] = set()
        self._flight: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] | None = None  # what a retry waits for before it asks
        # What a flight brings that began before a revocation, or before somebody authorized, is given back.
        self._epoch = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._authorizing_until = -math.inf
        self._alarm = Alarm(self._look)
        self._first: asyncio.TimerHandle | None = None
        self._closed, self._tried = False, not authorized
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
        first = not self._waiting
        future = self._waiting.join(self._monotonic() + self._policy.token_wait)
        if first:
            self._look()
        try:
            outcome = await future
        finally:
            self._waiting.leave(future)
        if isinstance(outcome, Unavailable):
            raise outcome.refusal()
        return outcome

    def refused(self, token: AccessToken, *, replayed: bool = False) -> Refused:
        """Take note that an upstream refused `token` (`replayed`: an earlier one before it); return what to do now."""
        before = self._life.holding
        actions = self._advance(RefusedUpstream(token, replayed))
        if type(before) is not type(self._life.holding):
            self._journal.refused(self._life.holding)
        return Refused.RELAY if Action.RELAY in actions or self._closed else Refused.RETRY

    def accepted(self, token: AccessToken) -> None:
        """Take note that an upstream accepted `token`; worth calling only while `unproven`."""
        self._advance(AcceptedUpstream(token))

    def heard(self) -> None:
        """Look at the store soon: another replica has saved something, or the store is there again."""
        if not self._closed:
            self._hearing.heard()

    # ------------------------------------------------------------------------------------------------------ operators

    async def renew(self) -> None:
        """Renew now, whatever back-off or brake say; return when it is done, raise `TokenUnavailable` when it failed.

        What the server asked for by `Retry-After` is obeyed.
        """
        if self._closed:
            raise closing().refusal()
        if not isinstance(self._life.errand, Flying):
            self._advance(Asked())
            if next_start(self._life, self._policy, waiting=True) > self._monotonic() + self._policy.token_wait:
                raise self._why().refusal()
        if self._turn is not None:
            settle(self._turn, None)  # somebody asks: it waits no longer
        future: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()
        self._asking.add(future)
        outcome = await future
        if outcome is not None:
            raise outcome.refusal()

    async def revoke(self) -> tuple[str, ...]:
        """Give the tokens back and forget them; return for each what became of it.

        What a renewal brings that is under way now is given back when it comes.
        """
        try:
            grant = await self.issuer.forget()
        finally:  # also where the store fails: the tokens are not used any more
            self._forget()
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
        if self._before is not None:
            self._before.heir = self
            self._before = None
        self._journal.stands(self._life.errand)
        if self._prefetch is not None:
            loop = asyncio.get_running_loop()
            self._first = loop.call_later(self._prefetch * self._chance(), self._advance, Asked(first=True))

    async def retire(self) -> None:
        """Stop once nobody waits any more: whoever waits now gets what was asked for.

        What is under way then is stored for the heir, or for whoever asks the store next; else it is given back.
        """
        await self._waiting.gone()
        heir, self.heir = self.heir, None  # or each keeper would keep all that come after it
        if heir is None:
            self._closed = True
            self.issuer.retire()
        if heir is not None or self.issuer.leaves_a_grant or self.can_revoke:
            await self.consent.settled()
            await self._settled()
        await self.close()
        if heir is not None:
            heir.heard()

    async def close(self) -> None:
        """Stop: nothing is renewed any more, those who wait are told so. A token that serves goes on serving."""
        self._closed = True
        self._alarm.set(math.inf)
        if self._first is not None:
            self._first.cancel()
        await self.consent.close()
        await self._hearing.close()
        self._waiting.answer(closing())
        self._answer(closing())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._late.close()

    async def _settled(self) -> None:
        """Wait for the end of all that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._late.settled()

    # --------------------------------------------------------------------------------------------------------- inside

    def _take(self) -> AccessToken | None:
        if self._token is None:
            return None  # time brings none, and whoever waits for one has that decided
        self._used = True
        self._look()
        return self._token

    def _look(self) -> None:
        self._advance(Looked())

    def _advance(self, event: LifeEvent) -> tuple[Action, ...]:
        """Let `event` change the life, and do what follows from it."""
        at = self._moment()
        asked = self._life.asked  # who asks just now sees to it himself
        self._life, actions = step(self._life, event, at, self._policy, self._demand())
        if Action.START in actions and not self._closed:
            self._turn = None if asked else self._retries.turn_of(self._life)
            work = self._fly(self._epoch, self._life.generation, self._flight, self._turn)
            self._flight = asyncio.get_running_loop().create_task(work, name=f"renewal:{self._connection}")
            self._tasks.add(self._flight)
            self._flight.add_done_callback(self._tasks.discard)
        self._journal.stands(self._life.errand)
        held = holds(self._life)
        self._token = held.token if held is not None else None
        self._until = undisturbed_until(self._life, at, used=self._used)
        self.unproven = awaits_verdict(self._life)
        self._attend(at)
        return actions

    def _attend(self, at: Moment) -> None:
        """Answer those who need not wait any longer, and set the timer for what comes next."""
        if self._token is not None:
            self._used = self._used or bool(self._waiting)
            self._waiting.serve(self._token, self._look)
        elif self._waiting:
            hope = next_start(self._life, self._policy, waiting=True)
            if at.monotonic < self._authorizing_until:
                hope = at.monotonic  # somebody is at it
            self._waiting.give_up(at.monotonic, hope, self._why)
        if not self._closed:
            wake = wake_at(self._life, at, self._policy, self._demand())
            self._alarm.set(min(wake, self._waiting.deadline), at.monotonic)

    def _supersede(self) -> None:
        """Let what is under way be of yesterday; what still waits for its turn does not even begin."""
        self._epoch += 1
        if self._turn is not None:
            self._turn.cancel()

    def _forget(self) -> None:
        self._supersede()
        self._advance(Revoked())
        self._answer(self._why())

    async def _fly(
        self, epoch: int, generation: int, before: asyncio.Task[None] | None, turn: asyncio.Future[None] | None
    ) -> None:
        """Run one renewal to its end, unless a token came meanwhile; the life hears of it, unless its epoch is over."""
        if before is not None:
            await asyncio.wait([before])  # two at once would spoil a refresh token that is good only once
        if turn is not None:
            await turn
        if self._flight is not asyncio.current_task() or not isinstance(self._life.errand, Flying):
            return  # the life waits for it no more
        renewal: Renewal | None = None
        try:
            renewal = await self.issuer.renew()
            event = event_of(renewal)
        except Exception as error:  # noqa: BLE001 a mistake of ours must not leave anybody waiting
            self._journal.broken(error)
            event = Failed(Failure(Outcome.OTHER_ERROR, "internal_error"), refreshable=self._life.refreshable)
        if epoch == self._epoch and not (renewal is not None and renewal.stale):
            if not is_known(self._life, event, generation):
                self._land(event)
            if renewal is not None:
                self._tell(renewal)
        elif renewal is not None:
            self._late.drop(renewal)
            if epoch == self._epoch:
                # What replaced it may never come, where a store fails or a device is given up: nobody waits for that.
                self._land(Failed(Failure(Outcome.OTHER_ERROR, "revoked_meanwhile"), refreshable=renewal.refreshable))

    def _learn(self, renewal: Renewal | None) -> None:
        """Go on with what a look at the store has brought; a renewal under way goes on, too, and will find the same."""
        if renewal is not None and not renewal.stale:
            self._land(event_of(renewal))
            self._tell(renewal)
        elif self.issuer.revoked_elsewhere:
            self.issuer.drop()
            self._forget()
            self._journal.note("revoked", "another replica gave the tokens back")
        elif isinstance(self._life.errand, AuthorizationRequired):
            if self.issuer.refreshable:
                self._advance(Regained())
        elif last_failure(self._life) is STORE_UNAVAILABLE:
            self._advance(Regained())

    def _adopt(self, renewal: Renewal) -> None:
        """Take what an authorization brought, in the place of whatever there was."""
        self._supersede()
        self._land(event_of(renewal))
        self._tell(renewal)

    def _expect(self, seconds: float) -> None:
        """Let requests wait for an authorization, for that long."""
        self._authorizing_until = self._monotonic() + seconds
        self._look()

    def _land(self, event: LifeEvent) -> None:
        self._tried = True
        # A use counts for one attempt: it asked for this one, and where this one failed, it says how soon the next is.
        failed = isinstance(event, Failed)
        self._used = self._used and failed
        generation = self._life.generation
        self._advance(event)
        if failed:
            self._used = False
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
            settle(future, outcome)

    def _tell(self, renewal: Renewal) -> None:
        """Have the line of a renewal written; a token that was not taken has left its reason."""
        failure = last_failure(self._life)
        if isinstance(renewal.result, Issued) and failure is None:
            if renewal.adopted:
                self._journal.adopted(renewal, renewal.result)
            else:
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
        return closing() if self._closed else why(self._life, self._monotonic(), self._policy, self._journal.remedy)
