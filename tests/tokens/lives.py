"""A life of a token led by hand: a clock that tests move, and words for what may happen."""

import itertools
from dataclasses import replace

from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.secret import Secret
from proxy.tokens.lease import Ahead, Moment
from proxy.tokens.lifecycle import next_start, step, wake_at
from proxy.tokens.pace import Policy
from proxy.tokens.states import (
    AcceptedUpstream,
    Action,
    Asked,
    Demand,
    Failed,
    Flying,
    Landed,
    Life,
    Looked,
    RefusedUpstream,
    Regained,
    Revoked,
    holds,
    state_of,
)

POLICY = Policy(
    ahead=Ahead(0.4, written=False),
    keep_alive=None,
    backoff_min=1.0,
    backoff_max=60.0,
    brake=300.0,
    cooldown_min=30.0,
    cooldown_max=600.0,
    token_wait=15.0,
)

UNREACHABLE = Failure(Outcome.TRANSPORT, "token_connect_failed")
INVALID_CLIENT = Failure(Outcome.INVALID_CLIENT, "invalid_client", Remedy.OPERATOR)
INVALID_GRANT = Failure(Outcome.INVALID_GRANT, "invalid_grant", Remedy.ANOTHER_GRANT)


def rate_limited(seconds):
    return Failure(Outcome.RATE_LIMITED, "token_rate_limited", retry_after=seconds)


class Led:
    """One life. `started` counts renewals: it is T of the authorization server, were there one."""

    def __init__(self, chance=0.5, **policy):
        self.policy = replace(POLICY, **policy)
        self.life = Life()
        self.now = 1000.0
        self.wall = 1_800_000_000.0
        self.chance = chance
        self.waiting = self.used = False
        self.started = self.ended = 0
        self.starts = []
        self.seen = []
        self._names = itertools.count(1)

    @property
    def at(self):
        return Moment(self.now, self.wall, self.chance)

    @property
    def demand(self):
        return Demand(self.waiting, self.used)

    @property
    def state(self):
        return state_of(self.life)

    @property
    def token(self):
        held = holds(self.life)
        return None if held is None else held.token

    @property
    def flying(self):
        return isinstance(self.life.errand, Flying)

    def _step(self, event):
        before = self.state
        self.life, actions = step(self.life, event, self.at, self.policy, self.demand)
        self.seen.append((before, self.state))
        if Action.START in actions:
            self.started += 1
            self.starts.append(self.now)
        return actions

    def look(self):
        self._step(Looked())
        return self.token

    def after(self, seconds):
        """Let time pass on both clocks, then look."""
        self.now += seconds
        self.wall += seconds
        return self.look()

    def wait(self, *, waiting=True):
        """A request arrives that finds no token (or the last one leaves)."""
        self.waiting = waiting
        self.look()

    def take(self):
        self.used = True
        return self.look()

    def ask(self, *, first=False):
        self._step(Asked(first))

    def fly(self):
        """Let time run until the renewal that is wanted has begun; attempts keep a distance of a second."""
        if not self.flying:
            self.after(self.next_wake)
        assert self.flying

    def land(self, lifetime=3600.0, value=None, *, seconds=0.0, asleep=0.0, refreshable=False):
        """The renewal under way brings a token, after so many seconds, and those that the machine slept meanwhile."""
        self.fly()
        self.ended += 1
        asked_at = self.at
        self.now += seconds
        self.wall += seconds + asleep
        self.used = False
        secret = Secret(value or f"token-{next(self._names)}")
        self._step(Landed(secret, lifetime, asked_at, refreshable))
        if self.token is not None:
            self.used, self.waiting = self.waiting, False
        return self.token

    def fail(self, failure=UNREACHABLE, *, refreshable=False):
        self.fly()
        self.ended += 1
        self.used = False
        self._step(Failed(failure, refreshable))

    def regain(self):
        """What attempts have failed for is there again."""
        self._step(Regained())

    def revoke(self):
        """The tokens are given back; what a renewal under way brings is dropped."""
        self.ended += self.flying
        self.used = False
        self._step(Revoked())

    def authorize(self, lifetime=3600.0):
        """A human brings a new grant, whatever is under way; what a renewal under way brings is dropped."""
        self.ended += self.flying
        self.used = False
        self._step(Landed(Secret(f"token-{next(self._names)}"), lifetime, self.at, refreshable=True))
        return self.token

    def refused(self, token=None, *, replayed=False):
        """Return whether the request is sent again."""
        return Action.RELAY not in self._step(RefusedUpstream(token or self.token, replayed))

    def accepted(self, token=None):
        self._step(AcceptedUpstream(token or self.token))

    def first_token(self, lifetime=3600.0, **how):
        self.wait()
        return self.land(lifetime, **how)

    @property
    def next_wake(self):
        """Seconds until the keeper's timer fires."""
        return wake_at(self.life, self.at, self.policy, self.demand) - self.now

    @property
    def next_attempt(self):
        """Seconds until the next attempt may begin."""
        return next_start(self.life, self.policy, waiting=self.waiting) - self.now

    def run(self, seconds, failure):
        """Let every attempt fail for so long; timers fire when they are due."""
        end = self.now + seconds
        while True:
            if self.flying:
                self.fail(failure)
            wake = self.next_wake
            if self.now + wake >= end:
                self.after(end - self.now)
                return
            self.after(max(wake, 0.001))
