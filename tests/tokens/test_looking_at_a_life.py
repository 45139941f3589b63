"""What is read off a life of a token without changing it, and the arithmetic below: exact times, by hand."""

import math
from dataclasses import replace

import pytest

from proxy.access_token import AccessToken
from proxy.secret import Secret
from proxy.tokens.lease import Ahead, Moment, due_after, lease, unusable_after
from proxy.tokens.lifecycle import is_known, next_renewal, next_start, undisturbed_until, wake_at
from proxy.tokens.pace import LONGEST_WITH_REQUESTS, brake_after_password, doubled, pause
from proxy.tokens.states import AuthorizationRequired, Failed, Flying, Nothing, holds
from tests.tokens.lives import INVALID_GRANT, POLICY, UNREACHABLE, Led, rate_limited

TOKEN = AccessToken(Secret("t-1"), 1)
AT = Moment(1000.0, 1_800_000_000.0, 0.0)


def fresh(seconds=1000, **policy):
    led = Led(chance=0.0, **policy)
    led.first_token(seconds)
    return led


# Until when a token is taken without a look


def test_without_a_token_every_request_is_looked_at():
    assert undisturbed_until(Led().life, AT, used=True) == -math.inf
    assert undisturbed_until(Led().life, AT, used=False) == -math.inf


def test_before_it_is_due_a_token_is_taken_until_then_whether_it_was_used_or_not():
    led = fresh()
    due = holds(led.life).due.wall

    assert due == led.wall + 600
    assert undisturbed_until(led.life, led.at, used=True) == due
    assert undisturbed_until(led.life, led.at, used=False) == due


def test_once_it_is_due_the_first_use_is_looked_at_and_no_other():
    led = fresh()
    led.used = False
    led.after(700)
    held = holds(led.life)

    assert undisturbed_until(led.life, led.at, used=False) == held.due.wall < led.wall
    assert undisturbed_until(led.life, led.at, used=True) == held.unusable.wall > led.wall


def test_while_a_renewal_is_under_way_only_the_end_of_the_token_matters():
    led = fresh()
    led.after(700)
    led.wait()
    assert isinstance(led.life.errand, Flying)

    for used in (False, True):
        assert undisturbed_until(led.life, led.at, used=used) == holds(led.life).unusable.wall


def test_while_a_failure_is_waited_out_an_unused_token_is_looked_at():
    led = fresh()
    led.after(700)
    led.wait()
    led.fail(UNREACHABLE)

    assert undisturbed_until(led.life, led.at, used=False) == -math.inf
    assert undisturbed_until(led.life, led.at, used=True) == holds(led.life).unusable.wall


# When the next renewal begins


def failed_for_long():
    """Return a life with a due token whose renewals have failed until the pauses were at their longest."""
    led = fresh()
    led.after(700)
    led.wait()
    for _ in range(7):
        led.fail(UNREACHABLE)
        led.after(200)
        led.wait()
    led.fail(UNREACHABLE)
    return led


def test_who_waits_who_does_not_and_an_operator_are_each_told_their_time():
    led = failed_for_long()
    rest = led.life.errand.pause
    floor = led.life.begun + POLICY.floor

    assert rest.asked < rest.eager < rest.lazy
    assert next_start(led.life, POLICY, waiting=True) == max(floor, rest.eager)
    assert next_start(led.life, POLICY, waiting=False) == max(floor, rest.lazy)
    assert next_start(replace(led.life, asked=True), POLICY, waiting=False) == max(floor, rest.asked)
    assert next_start(replace(led.life, asked=True), POLICY, waiting=True) == max(floor, rest.asked)


def test_a_use_hurries_the_next_attempt_as_somebody_who_waits_does():
    led = failed_for_long()

    led.waiting, led.used = False, True
    used = next_renewal(led.life, led.at, POLICY, led.demand)
    led.waiting, led.used = True, False
    waiting = next_renewal(led.life, led.at, POLICY, led.demand)
    assert used == waiting == next_start(led.life, POLICY, waiting=True)


def test_nothing_begins_while_one_is_under_way_or_where_a_human_is_needed():
    led = fresh()
    led.after(700)
    led.wait()
    assert next_renewal(led.life, led.at, POLICY, led.demand) == math.inf
    assert next_start(led.life, POLICY, waiting=True) == led.life.begun

    human = replace(led.life, errand=AuthorizationRequired(INVALID_GRANT))
    assert next_start(human, POLICY, waiting=True) == math.inf


def test_a_life_is_looked_at_when_its_token_is_due_and_when_it_ends():
    led = fresh()
    held = holds(led.life)

    assert next_renewal(led.life, led.at, POLICY, led.demand) == held.due.monotonic
    assert wake_at(led.life, led.at, POLICY, led.demand) == held.due.monotonic
    led.after(700)
    assert wake_at(led.life, led.at, POLICY, led.demand) == held.unusable.monotonic
    assert wake_at(Led().life, AT, POLICY, Led().demand) == math.inf


# A renewal that brings nothing new


def test_a_renewal_brings_nothing_where_another_token_came_before_it():
    led = fresh()
    token = holds(led.life).token
    generation = led.life.generation
    failed = Failed(UNREACHABLE, refreshable=True)
    landed = type("Landed", (), {"value": token.value})()
    other = type("Landed", (), {"value": Secret("another")})()

    assert not is_known(led.life, failed, generation)
    assert not is_known(led.life, landed, generation)
    assert is_known(led.life, failed, generation - 1)
    assert is_known(led.life, landed, generation - 1)
    assert not is_known(led.life, other, generation - 1)
    assert not is_known(replace(led.life, holding=Nothing()), failed, generation - 1)


# The arithmetic


def test_a_token_that_was_just_renewed_and_is_refused_again_is_not_renewed_at_once():
    led = fresh(cooldown_min=30.0)
    led.accepted()
    led.after(100)
    assert led.refused()
    led.land(1000)

    assert not led.refused()
    assert led.started == 2
    led.after(29.9)
    assert not led.refused()
    assert led.started == 2


def test_a_refusal_is_relayed_where_no_renewal_comes_within_the_patience_of_requests():
    led = fresh(token_wait=15.0)
    led.accepted()
    led.after(100)
    led.refused()
    led.fail(rate_limited(1000))

    assert not led.refused(TOKEN)


def test_a_lease_ends_before_its_token_and_a_token_handed_out_again_is_not_asked_for_at_once():
    made = lease(TOKEN, 1000.0, Ahead(0.4, written=False), at=AT, replaces_refused=False, same=False)
    again = lease(TOKEN, 1000.0, Ahead(0.9, written=True), at=AT, replaces_refused=False, same=True)

    assert made.due.monotonic == AT.monotonic + 600
    assert made.unusable.monotonic == AT.monotonic + unusable_after(1000.0) < made.expires.monotonic
    assert again.due.monotonic == AT.monotonic + 500
    endless = lease(TOKEN, None, Ahead(0.4, written=False), at=AT, replaces_refused=True, same=False)
    assert endless.due.monotonic == endless.expires.monotonic == math.inf
    assert endless.replaces_refused


def test_the_spread_goes_to_earlier_only():
    ahead = Ahead(0.4, written=False)

    assert due_after(1000.0, ahead, 0.0) == 600
    assert due_after(1000.0, ahead, 0.5) < 600
    assert due_after(1000.0, ahead, 0.99) < due_after(1000.0, ahead, 0.5)
    assert due_after(1000.0, Ahead(100.0, written=True), 0.0) == 900


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_pause_is_half_fixed_and_half_by_chance_and_runs_from_the_beginning_of_the_attempt(chance):
    made = pause(POLICY, begun=1000.0, now=1000.5, step=3, chance=chance)

    assert made.eager == pytest.approx(1000.0 + 8 * (0.5 + 0.5 * chance))
    assert made.lazy == made.eager
    assert made.asked == 1000.5


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_with_requests_a_pause_is_never_long_and_without_it_is(chance):
    made = pause(POLICY, begun=1000.0, now=1000.5, step=30, chance=chance)

    assert made.eager == pytest.approx(1000.0 + LONGEST_WITH_REQUESTS * (0.5 + 0.5 * chance))
    assert made.lazy == pytest.approx(1000.0 + 60 * (0.5 + 0.5 * chance))


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_what_the_server_asks_for_runs_from_its_answer_and_is_exceeded_by_chance_alone(chance):
    made = pause(POLICY, begun=1000.0, now=1010.0, step=0, chance=chance, retry_after=100.0)
    none = pause(POLICY, begun=1000.0, now=1010.0, step=0, chance=chance, retry_after=0.0)

    assert 1110.0 <= made.asked == made.eager == made.lazy <= 1210.0
    assert (made.asked == 1110.0) == (chance == 0.0)
    assert none.asked == 1010.0


def test_a_slow_pause_begins_where_the_usual_one_ends_and_requests_do_not_hurry_it():
    usual = pause(POLICY, begun=0.0, now=0.0, step=0, chance=1.0)
    slow = pause(POLICY, begun=0.0, now=0.0, step=0, chance=1.0, slow=True)

    assert (usual.eager, slow.eager, slow.lazy) == (1.0, 60.0, 60.0)


def test_doubling_stops_at_the_most_and_does_not_overflow():
    assert [doubled(1.0, 60.0, step) for step in (0, 1, 5, 6, 7, 100_000)] == [1, 2, 32, 60, 60, 60]
    assert doubled(1.0, math.inf, 100_000) == 2.0**60


def test_a_password_that_was_refused_too_often_is_not_sent_again():
    assert brake_after_password(POLICY, (), 1000.0) == 1300.0
    assert brake_after_password(POLICY, (999.0,), 1000.0) == 1300.0
    assert brake_after_password(POLICY, (900.0, 950.0, 999.0), 1000.0) == math.inf
    assert brake_after_password(POLICY, (-1e9, -1e9, 999.0), 1000.0) == 1300.0


def test_failures_in_a_row_are_waited_out_longer_and_every_second_pause_makes_up_for_the_one_before():
    led = Led(chance=1.0)
    led.wait()
    pauses = []
    for _ in range(4):
        led.fail(UNREACHABLE)
        pauses.append(next_start(led.life, POLICY, waiting=True) - led.life.begun)
        led.after(pauses[-1] + 1)
        led.wait()

    assert pauses == [1.0, 1.0, 4.0, 4.0]  # 1, half of 2, 4, half of 8


def test_only_the_last_refusals_of_a_password_count():
    led = Led(passwords=True)
    led.wait()
    for _ in range(2):
        led.fail(INVALID_GRANT)
        led.after(7200)
        led.wait()
    led.fail(INVALID_GRANT)

    assert next_start(led.life, led.policy, waiting=True) < math.inf
    assert len(led.life.rejections) <= 3


def test_a_token_that_expired_on_its_way_is_none_and_one_a_second_before_is_one():
    for seconds, serves in ((990.0, False), (989.9, True)):
        led = Led(chance=0.0)
        led.wait()
        assert (led.land(1000.0, seconds=seconds) is not None) is serves


def test_an_acceptance_of_a_token_that_replaces_a_refused_one_ends_the_cooldown():
    led = fresh()
    led.accepted()
    led.after(100)
    assert led.refused()
    led.land(1000)
    assert led.life.cooldown is None
    assert not led.refused()
    assert led.life.cooldown is not None
    led.accepted()
    assert led.life.cooldown is not None, "it was doubted: that it works once does not say that renewing helps"


def test_what_was_revoked_leaves_nothing_that_can_be_refreshed():
    led = Led()
    led.wait()
    led.land(1000, refreshable=True)
    assert led.life.refreshable
    led.revoke()

    assert isinstance(led.life.holding, Nothing)
    assert (led.life.refreshable, led.life.asked, led.life.rejections, led.life.cooldown) == (False, False, (), None)
