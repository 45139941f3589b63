"""Keepers led at random: requests, answers, operators and clocks do what they like, and the promises hold.

`test_lifecycle_walk.py` walks through the pure decisions; here they act, with everything that may come in between. Time
moves to just before, exactly to, and just after the moments at which something changes. KEEPER_WALKS is the number of
walks; `make test` takes 500 of 50 steps.
"""

import math
import os
from asyncio import all_tasks
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from proxy.access_token import Refused
from proxy.errors import TokenUnavailable
from proxy.patience import LAST_LOOK
from proxy.tokens.lease import unusable_after
from proxy.tokens.states import AuthorizationRequired, BackingOff, Braked, Flying
from tests.support.fake_time import FakeTime
from tests.tokens.played import Play

WALKS = int(os.environ.get("KEEPER_WALKS", "500"))
# Timers of the keeper are a millisecond late on purpose.
LATE = 0.0011
KINDS = {
    "client_credentials": {"grant_type": "client_credentials"},
    "kept-alive": {"grant_type": "client_credentials", "keep_alive": 300.0},
    "password": {"grant_type": "password"},
    "refresh_token": {"grant_type": "refresh_token", "refresh_token": "seed"},
    "authorization_code": {"grant_type": "authorization_code"},
}
LIFETIMES = st.sampled_from([None, 1, 1, 20, 20, 60, 100, 3600, 86400, 10**12])
ANSWERS = st.sampled_from(
    [*["token"] * 6, "same", "503", "429", "retry_after", "invalid_grant", "invalid_client", "nonsense", "reset"]
)
# To just before, exactly to and just after a moment at which something changes; to the next timer; anywhere.
TIMES = st.sampled_from([-0.002, 0.0, LATE, "timer", "some"])
CLOCKS = st.sampled_from([-86400.0, -3600.0, -30.0, -1.0, 1.0, 30.0, 3600.0, 86400.0])
WHICH = st.integers(0, 1000)


class Walk(RuleBasedStateMachine):
    stage = Play

    @initialize(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 3), lifetime=LIFETIMES, warm=st.booleans())
    def begin(self, kind, seed, lifetime, warm):
        self.after = ExitStack()
        self.after.enter_context(capture_logs())
        self.time = FakeTime()
        self.after.callback(self.time.end)
        self.kind = kind
        self.number = seed
        self.steps = 0
        self.retiring = []
        self.all_waiters = []
        self.asking = []
        self.new_play()
        if warm:
            if kind == "authorization_code":
                self.somebody_authorizes()
            self.a_request_comes()
            self.an_answer_comes(0, "token", lifetime, rotates=True)

    def new_play(self):
        """Another keeper, as at the start or after a reload; what the walk knows of the one before is forgotten."""
        self.play = self.stage(self.time, seed=self.number, **KINDS[self.kind])
        self.keeper = self.play.keeper
        self.waiters = {}  # task -> until when it may wait
        self.issued = {}  # text of a token -> (monotonic, wall, lifetime) of the answer that brought it
        self.late = set()  # requests whose answers are not to be used any more
        self.served = []  # tokens that requests got, the newest last
        self.gone = []  # tokens that are not to be served again
        self.seen = 0  # requests at the endpoint whose distance has been checked
        self.failed_at = -math.inf
        self.note_pause(asked=False)

    @property
    def life(self):
        return self.keeper._life  # noqa: SLF001 what it will do next can't be seen from outside

    # ------------------------------------------------------------------------------------------------- what is checked

    def note_pause(self, *, asked):
        """Remember when the next attempt may begin, as things stand before something happens."""
        asked = asked or self.life.asked
        match self.life.errand:
            case BackingOff(pause=pause):
                self.not_before = pause.asked if asked else pause.eager
            case Braked(until=until):
                self.not_before = -math.inf if asked else until
            case AuthorizationRequired():
                self.not_before = math.inf
            case _:
                self.not_before = -math.inf
        self.flew = isinstance(self.life.errand, Flying)
        self.asked = asked
        self.authorizing = False

    def check_token(self, token):
        assert token not in self.gone, "a spent or revoked token was handed out"
        assert token.value.reveal() in self.issued, "what came too late was handed out"
        monotonic, wall, lifetime = self.issued[token.value.reveal()]
        usable = math.inf if lifetime is None else unusable_after(min(lifetime, 30 * 86400))
        # The monotonic clock has its say by a timer, the wall clock at each look.
        assert self.time.now - monotonic < usable + LATE, "an expired token was handed out"
        assert self.time.wall() - wall < usable + 1e-6, "an expired token was handed out"
        self.served.append(token)

    def look(self):
        """Let everything happen that happens now, and hold the keeper to its promises."""
        self.steps += 1
        self.time.settle()
        for task in [task for task in self.waiters if task.done()]:
            del self.waiters[task]
            if task.cancelled():
                continue
            if (error := task.exception()) is None:
                self.check_token(task.result())
            else:
                assert isinstance(error, TokenUnavailable), error
        assert all(self.time.now < until + LATE for until in self.waiters.values()), "a request waits for ever"
        renewals = [asked for asked in self.play.endpoint.asked if asked.is_renewal]
        for asked in renewals[self.seen :]:
            used = asked.form.get("refresh_token")
            known = ["seed", *self.play.store.written[: asked.written]]
            assert used is None or used == known[-1], "a refresh token was used again after its successor was written"
            if not self.flew and not self.authorizing:
                assert asked.at >= self.not_before - 1e-9, "an attempt came before its time"
                assert self.asked or asked.at >= self.failed_at + 0.5 * self.play.policy.backoff_min
        new = len(renewals) - self.seen
        # One renewal makes two requests at most: a refresh, and where that is refused the connection's own grant.
        assert new <= 1 + self.flew, "several renewals began at once"
        self.seen = len(renewals)
        self.note_pause(asked=False)

    @invariant()
    def one_renewal_is_in_flight_at_most(self):
        assert sum(asked.is_renewal for asked in self.play.endpoint.open) <= 1

    # -------------------------------------------------------------------------------------------------------- requests

    @rule()
    def a_request_comes(self):
        token = self.play.take()
        if token is not None:
            self.check_token(token)
        else:
            until = self.time.now + self.play.policy.token_wait
            self.waiters[self.play.wait()] = until
        self.look()

    @rule(which=WHICH)
    @precondition(lambda self: self.waiters)
    def a_request_leaves(self, which):
        list(self.waiters)[which % len(self.waiters)].cancel()
        self.look()

    @rule(back=st.integers(1, 3), replayed=st.booleans(), again=st.integers(0, 2))
    @precondition(lambda self: self.served)
    def an_upstream_refuses(self, back, replayed, again):
        token = self.served[-min(back, len(self.served))]
        serves = self.play.take() is token
        if self.time.call(self.keeper.refused, token, replayed=replayed) is Refused.RETRY and serves:
            assert self.play.take() is not token, "a request is sent again with the token that was refused"
            self.gone.append(token)
            self.look()
            self.a_request_comes()
            if again and self.play.endpoint.open:
                self.an_answer_comes(0, "token", 3600, rotates=False)
                if again > 1 and not self.waiters:
                    self.an_upstream_refuses(1, replayed=True, again=0)
        self.look()

    @rule()
    @precondition(lambda self: self.served)
    def an_upstream_accepts(self):
        self.time.call(self.keeper.accepted, self.served[-1])
        self.look()

    # --------------------------------------------------------------------------------------------------------- answers

    @rule(which=WHICH, how=ANSWERS, lifetime=LIFETIMES, rotates=st.booleans())
    @precondition(lambda self: self.play.endpoint.open)
    def an_answer_comes(self, which, how, lifetime, rotates):
        asked = self.play.endpoint.open[which % len(self.play.endpoint.open)]
        match how:
            case "token" | "same":
                self.number += 1
                value = "same" if how == "same" and asked not in self.late else f"token-{self.number}"
                if asked not in self.late:
                    self.issued[value] = asked.at, asked.wall, lifetime
                if not asked.is_renewal:  # it takes the place of whatever there was
                    self.late |= {each for each in self.play.endpoint.open if each.is_renewal}
                asked.token(value, lifetime, **({"refresh_token": f"r{self.number}"} if rotates else {}))
                self.authorizing = not asked.is_renewal
            case "503" | "429":
                asked.say(int(how), {})
            case "retry_after":
                asked.say(503, {}, retry_after="30")
            case "invalid_grant" | "invalid_client":
                asked.say(400, {"error": how})
            case "nonsense":
                asked.say(200, ["?"])
            case "reset":
                asked.break_off()
        errand = self.life.errand
        self.look()
        if asked.is_renewal and isinstance(errand, Flying) and isinstance(self.life.errand, BackingOff | Braked):
            self.failed_at = self.time.now

    # ------------------------------------------------------------------------------------------------------------ time

    @rule(which=WHICH, how=TIMES, seconds=st.one_of(st.floats(0, 5), st.floats(0, 2000)))
    def time_passes(self, which, how, seconds):
        match how:
            case "some":
                self.advance(seconds)
            case "timer":
                self.time.to_next_timer()
            case float() as nudge:
                moments = [moment + nudge for moment in self.moments() if moment + nudge > self.time.now]
                if moments:
                    self.advance(moments[which % len(moments)] - self.time.now)
        self.look()

    def advance(self, seconds):
        """Let time pass in one go. Where a timer should have rung meanwhile, that is a loop which stood still."""
        timer = self.time.next_timer
        self.time.advance(seconds)
        if timer is not None and timer < seconds:
            self.time.settle()
            end = self.time.now + LAST_LOOK
            while self.time.next_timer is not None and self.time.now + self.time.next_timer <= end + 1e-9:
                self.time.to_next_timer()
                self.time.settle()

    def moments(self):
        """Return when something changes (monotonic): leases, pauses, brakes, cooldowns, patience, timers."""
        life, found = self.life, list(self.waiters.values())
        held = getattr(life.holding, "lease", None)
        if held is not None:
            found += [held.due.monotonic, held.unusable.monotonic, held.expires.monotonic]
            found += [deadline.wall - self.time.wall() + self.time.now for deadline in (held.due, held.unusable)]
            found.append(held.renewed_at + (self.play.policy.keep_alive or math.inf))
        match life.errand:
            case BackingOff(pause=pause):
                found += [pause.eager, pause.lazy, pause.asked]
            case Braked(until=until):
                found.append(until)
        if life.cooldown is not None:
            found += [life.cooldown.until, life.spent_at + self.play.policy.cooldown_min]
        if self.time.next_timer is not None:
            found.append(self.time.now + self.time.next_timer)
        return sorted({moment for moment in found if math.isfinite(moment)})

    @rule(seconds=CLOCKS)
    def the_wall_clock_steps_or_the_machine_was_asleep(self, seconds):
        self.time.step_wall(seconds)
        self.look()

    # ------------------------------------------------------------------------------------------------------- operators

    def lately(self):
        """Tell whether everything was lost a moment ago: too often, and nothing else would ever happen."""
        return self.steps % 4 != 0

    @rule()
    def an_operator_renews(self):
        self.note_pause(asked=True)
        self.asking.append(self.time.start(self.keeper.renew(), "operator"))
        self.look()

    @rule()
    @precondition(lambda self: self.play.endpoint.open or (self.served and not self.lately()))
    def an_operator_revokes(self):
        self.late |= set(self.play.endpoint.open)
        task = self.time.start(self.keeper.revoke(), "revoking")
        assert task.done()
        self.gone += [token for token in self.served if token not in self.gone]
        assert self.keeper.snapshot().expires_at is None
        self.not_before = self.failed_at = -math.inf
        self.flew = False
        self.look()

    @rule()
    @precondition(lambda self: self.kind == "authorization_code")
    def somebody_authorizes(self):
        self.time.call(self.keeper.consent.expected, 600.0)
        self.asking.append(self.play.authorize())
        self.look()

    @rule()
    @precondition(lambda self: (self.play.endpoint.open or self.served) and not self.lately())
    def a_reload_replaces_the_keeper(self):
        self.retiring.append((self.play, self.time.start(self.keeper.retire(), "retiring")))
        self.all_waiters += self.waiters
        self.new_play()
        self.look()

    # ------------------------------------------------------------------------------------------------------------- end

    def teardown(self):
        if hasattr(self, "after"):
            with self.after:
                self.nobody_is_left_and_a_token_is_to_be_had()

    def nobody_is_left_and_a_token_is_to_be_had(self):
        """Once the servers are well again."""
        self.number += 1
        self.play.endpoint.always = lambda asked: asked.token(f"well-{self.number}-{asked.at}")
        for asked in list(self.play.endpoint.open):
            asked.break_off()
        for play, _ in self.retiring:
            for asked in list(play.endpoint.open):
                asked.break_off()
            play.endpoint.always = lambda asked: asked.say(503, {})
        self.time.pass_time(400)
        assert all(task.done() for task in (*self.waiters, *self.all_waiters, *self.asking)), "somebody waits for ever"
        assert all(task.done() for _, task in self.retiring), "a keeper that was replaced is still there"
        if self.play.policy.own_grant:
            helped = self.time.start(self.keeper.renew(), "operator")
            self.time.pass_time(2)
        elif self.kind == "authorization_code":
            helped = self.play.authorize()
        else:
            helped = None  # only another seed would help, in other definitions
        if helped is not None:
            assert helped.exception() is None
            assert self.play.take() is not None
        for task in (*self.waiters, *self.all_waiters, *self.asking):
            if not task.cancelled():
                assert isinstance(task.exception(), TokenUnavailable | None)
        self.play.close()
        assert not all_tasks(self.time.loop)
        assert self.time.next_timer is None


Walk.TestCase.settings = settings(max_examples=WALKS, stateful_step_count=50, deadline=None)
TestWalk = pytest.mark.timeout(max(180, WALKS))(Walk.TestCase)
