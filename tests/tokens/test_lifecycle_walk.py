"""Lives led at random: whatever happens in whatever order, the invariants hold."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.tokens.lifecycle import awaits_verdict, wake_at
from proxy.tokens.states import TRANSITIONS, Disputed, Expired, Spent, holds
from tests.tokens.lives import INVALID_CLIENT, INVALID_GRANT, UNREACHABLE, Led, rate_limited

ALLOWED = {(before, after) for before, after, _ in TRANSITIONS}
FAILURES = st.sampled_from([UNREACHABLE, INVALID_CLIENT, INVALID_GRANT, rate_limited(30)])


class Walk(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.led = Led()
        self.spent = set()
        self.tokens = []
        self.operator = 0

    @rule(
        chance=st.floats(0, 1, exclude_max=True),
        own_grant=st.booleans(),
        passwords=st.booleans(),
        keep_alive=st.sampled_from([None, 300.0]),
    )
    @precondition(lambda self: not self.led.seen)
    def another_connection(self, chance, own_grant, passwords, keep_alive):
        self.led = Led(chance, own_grant=own_grant, passwords=passwords, keep_alive=keep_alive)

    @rule(seconds=st.one_of(st.floats(0, 5), st.floats(0, 2000)), sleeping=st.booleans())
    def time_passes(self, seconds, sleeping):
        if sleeping:
            self.led.wall += seconds
        self.led.after(seconds)

    @rule(seconds=st.floats(-4000, 4000))
    def the_wall_clock_is_set(self, seconds):
        self.led.wall += seconds
        self.led.look()

    @rule()
    def the_timer_fires(self):
        if (wake := self.led.next_wake) < 1e6:
            self.led.after(max(wake, 0.0))

    @rule()
    def a_request_comes(self):
        if self.led.take() is None:
            self.led.wait()

    @rule()
    def the_requests_give_up(self):
        self.led.wait(waiting=False)

    @rule(first=st.booleans())
    def somebody_asks(self, first):
        self.operator += not first
        self.led.ask(first=first)

    @rule(
        lifetime=st.sampled_from([None, -5.0, 0.5, 60.0, 3600.0, 2592000.0]),
        same=st.booleans(),
        seconds=st.floats(0, 10),
    )
    @precondition(lambda self: self.led.flying)
    def a_token_comes(self, lifetime, same, seconds):
        token = self.led.land(lifetime, value="same" if same else None, seconds=seconds, refreshable=same)
        if token is not None:
            self.tokens.append(token)

    @rule(failure=FAILURES, refreshable=st.booleans())
    @precondition(lambda self: self.led.flying)
    def the_renewal_fails(self, failure, refreshable):
        self.led.fail(failure, refreshable=refreshable)

    @rule()
    def somebody_gives_the_tokens_back(self):
        self.led.revoke()
        assert self.led.token is None
        # What was revoked is as dead as what was refused.
        self.spent.update(self.tokens)

    @rule(lifetime=st.sampled_from([None, -5.0, 60.0, 3600.0]))
    @precondition(lambda self: not self.led.policy.own_grant)
    def somebody_authorizes(self, lifetime):
        token = self.led.authorize(lifetime)
        if token is not None:
            self.tokens.append(token)

    @rule(back=st.integers(1, 3), replayed=st.booleans())
    @precondition(lambda self: self.tokens)
    def an_upstream_refuses(self, back, replayed):
        self.led.look()
        token = self.tokens[-min(back, len(self.tokens))]
        held = holds(self.led.life)
        serves = held is not None and held.token is token
        again = self.led.refused(token, replayed=replayed)
        if isinstance(self.led.life.holding, Spent) and serves:
            self.spent.add(token)
        if serves and again:
            # A request is sent again only with another token than the one that was refused.
            assert token in self.spent

    @rule()
    @precondition(lambda self: self.tokens)
    def an_upstream_accepts(self):
        self.led.accepted(self.tokens[-1])

    @invariant()
    def a_spent_token_is_never_served(self):
        assert self.led.token not in self.spent

    @invariant()
    def nothing_is_served_past_its_end(self):
        held = holds(self.led.life)
        assert held is None or not held.unusable.passed(self.led.at)

    @invariant()
    def attempts_keep_their_distance(self):
        gaps = [after - before for before, after in pairwise(self.led.starts)]
        assert all(gap >= self.led.policy.floor - 1e-6 for gap in gaps)

    @invariant()
    def at_most_one_renewal_is_under_way(self):
        # Each start but the one under way has ended in a token or a failure: `land` and `fail` demand a flight, so
        # two starts without an end between them would leave one behind.
        ended = self.led.ended
        assert self.led.started - ended == self.led.flying

    @invariant()
    def the_words_change_only_as_drawn(self):
        odd = {(before, after) for before, after in self.led.seen if before != after} - ALLOWED
        assert odd == set()

    @invariant()
    def a_wanted_token_is_always_on_its_way(self):
        if isinstance(self.led.life.holding, Spent | Expired) and self.led.waiting and not self.led.flying:
            wake = wake_at(self.led.life, self.led.at, self.led.policy, self.led.demand)
            stopped = type(self.led.life.errand).__name__ in {"AuthorizationRequired", "Braked"}
            assert stopped or wake - self.led.now <= 660

    @invariant()
    def a_disputed_token_serves(self):
        if isinstance(self.led.life.holding, Disputed):
            assert self.led.token is not None
            assert self.led.life.cooldown is not None

    @invariant()
    def only_a_token_that_serves_awaits_a_verdict(self):
        assert not awaits_verdict(self.led.life) or self.led.token is not None


Walk.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWalk = Walk.TestCase
