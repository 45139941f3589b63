"""The life of a token without a loop and without a clock; `test_keeper.py` has the same over real sockets."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from proxy.tokens.lease import Ahead, due_after, unusable_after
from proxy.tokens.lifecycle import awaits_verdict
from proxy.tokens.states import Cooldown, State, diagram, last_failure
from tests.tokens.lives import INVALID_CLIENT, INVALID_GRANT, UNREACHABLE, Led, rate_limited

# ------------------------------------------------------------------------------------------------------------- by time


def test_nothing_is_asked_for_before_somebody_wants_a_token():
    led = Led()

    led.after(1000)

    assert (led.state, led.started, led.next_wake) == (State.NONE, 0, math.inf)


def test_the_first_request_starts_one_renewal_and_the_next_ones_none():
    led = Led()

    led.wait()
    led.wait()
    led.ask(first=True)

    assert led.started == 1
    assert led.land() is not None
    assert led.state is State.VALID


@pytest.mark.case("T-62")
@pytest.mark.parametrize("failure", [UNREACHABLE, INVALID_CLIENT, rate_limited(30)])
def test_the_prefetch_does_not_cut_a_pause_short(failure):
    led = Led()
    led.wait()
    led.fail(failure)
    led.wait(waiting=False)
    before = led.next_attempt
    led.ask(first=True)

    assert (led.started, led.next_attempt) == (1, before)


def test_the_prefetch_is_not_needed_once_there_was_a_token():
    led = Led()
    led.first_token()

    led.after(5)
    led.ask(first=True)
    led.after(5)

    assert led.started == 1


@pytest.mark.case("R-365")
def test_a_token_is_renewed_ahead_while_it_is_used_and_serves_meanwhile():
    led = Led(chance=0.0)
    first = led.first_token(1000)
    led.take()

    assert led.after(599) is first
    assert (led.state, led.started) == (State.VALID, 1)
    assert led.after(1) is first
    assert (led.state, led.started) == (State.DUE, 2)
    assert led.after(100) is first
    assert led.started == 2
    assert led.land() is not first


def test_an_unused_token_is_not_renewed_ahead():
    led = Led(chance=0.0)
    led.first_token(1000)
    led.used = False

    led.after(700)
    assert (led.state, led.started) == (State.DUE, 1)
    led.take()
    assert led.started == 2


def test_a_token_expires_before_its_end_and_is_never_served_after():
    led = Led(chance=0.0)
    led.first_token(1000)
    led.used = False

    assert led.after(989.9) is not None
    assert led.after(0.2) is None
    assert led.state is State.EXPIRED


@pytest.mark.parametrize(("lifetime", "usable"), [(3600, 3590), (100, 90), (60, 54), (1, 0.9), (101, 91)])
def test_the_margin_is_ten_seconds_or_a_tenth(lifetime, usable):
    assert unusable_after(lifetime) == pytest.approx(usable)


@pytest.mark.parametrize(
    ("lifetime", "ahead", "chance", "due"),
    [
        (1000, Ahead(0.4, written=False), 0.0, 600),
        (1000, Ahead(0.4, written=False), 1.0, 560),
        (86400, Ahead(0.4, written=False), 0.0, 82800),
        (86400, Ahead(0.4, written=True), 0.0, 51840),
        (1000, Ahead(300, written=True), 0.0, 700),
        (1000, Ahead(300, written=True), 1.0, 670),
        (1000, Ahead(5000, written=True), 0.5, 100),
        (1000, Ahead(1.0, written=True), 0.0, 100),
        (1000, Ahead(0.001, written=True), 0.0, 990),
    ],
)
def test_a_token_is_due_by_ratio_or_duration_and_earlier_by_jitter_only(lifetime, ahead, chance, due):
    assert due_after(lifetime, ahead, chance) == pytest.approx(due)


@pytest.mark.case("R-370")
def test_tokens_that_began_together_fall_due_spread_over_a_tenth_of_the_lead():
    entropy = random.Random(7)
    dues = [due_after(3600, Ahead(0.4, written=False), entropy.random()) for _ in range(1000)]

    assert 3600 - 1.1 * 1440 <= min(dues) < max(dues) <= 3600 - 1440
    per_second = [sum(1 for due in dues if second <= due < second + 1) for second in range(2016, 2160)]
    assert sum(per_second) == 1000
    # The mean is 7 in a second; thrice that would be a herd.
    assert max(per_second) <= 3 * 1000 / 144


@pytest.mark.case("T-85", "T-86")
def test_a_token_of_unknown_life_is_renewed_on_refusal_only():
    led = Led()
    token = led.first_token(None)
    led.take()

    assert led.after(10 * 86400) is token
    assert (led.state, led.started, led.next_wake) == (State.VALID, 1, math.inf)
    assert led.refused()
    assert led.started == 2


@pytest.mark.case("T-88")
def test_a_month_long_life_sets_a_timer_that_a_loop_can_hold():
    led = Led()
    led.first_token(30 * 86400.0)
    led.take()

    assert 0 < led.next_wake <= 30 * 86400


@pytest.mark.case("T-89")
def test_the_same_token_with_less_life_left_is_not_asked_for_in_a_circle():
    # Asked for long before its end, it would be due again at once, and again.
    led = Led(chance=0.0, ahead=Ahead(3000, written=True))
    led.first_token(3600, value="same")
    end = led.now + 3600
    while led.now < end - 60:
        led.used = True
        led.after(led.next_wake)
        if led.flying:
            led.land(end - led.now, value="same")

    assert led.started <= 10
    assert min(after - before for before, after in pairwise(led.starts)) >= 30


@pytest.mark.case("R-394")
def test_a_token_that_has_expired_on_arrival_is_a_failed_attempt_and_no_loop():
    led = Led()
    led.wait()
    for _ in range(5):
        assert led.land(-10) is None
        assert led.state is State.BACKOFF
        assert led.life.errand.failure.code == "token_expired_on_arrival"
        before = led.started
        led.after(led.next_attempt - 0.01)
        assert led.started == before
        led.after(0.02)
        assert led.started == before + 1


@pytest.mark.case("R-394")
def test_a_life_shorter_than_its_way_has_expired_on_arrival():
    led = Led()
    led.wait()

    assert led.land(2, seconds=3) is None
    assert led.state is State.BACKOFF


def test_an_idle_grant_is_renewed_so_that_it_does_not_lapse():
    led = Led(keep_alive=86400.0)
    led.first_token(3600, refreshable=True)
    led.used = False

    led.after(86399)
    assert led.started == 1
    led.after(1)
    assert led.started == 2


def test_a_grant_without_refresh_token_has_nothing_to_keep_alive():
    led = Led(keep_alive=86400.0)
    led.first_token(3600)
    led.used = False

    led.after(10 * 86400)

    assert led.started == 1


@pytest.mark.case("R-391")
@pytest.mark.parametrize("jump", [3600, 86400])
def test_a_wall_clock_that_jumps_ahead_costs_one_renewal_and_serves_nothing_stale(jump):
    led = Led()
    led.first_token(3600)
    led.wall += jump

    assert led.look() is None
    led.wait()
    assert led.land(3600) is not None
    assert led.after(10) is not None
    assert led.started == 2


@pytest.mark.case("R-391")
def test_a_wall_clock_that_jumps_back_never_extends_use():
    led = Led()
    led.first_token(3600)
    led.used = False
    led.wall -= 3600

    assert led.after(3589) is not None
    assert led.after(1) is None


@pytest.mark.case("R-392")
def test_after_a_suspended_night_the_wall_clock_alone_retires_the_token():
    led = Led()
    led.first_token(3600)
    led.wall += 8 * 3600  # the monotonic clock stood still

    assert led.look() is None


@pytest.mark.case("R-392")
def test_a_token_that_came_while_the_machine_slept_has_expired_on_arrival():
    led = Led()
    led.wait()
    led.land(3600, asleep=8 * 3600)

    assert led.token is None
    assert last_failure(led.life).code == "token_expired_on_arrival"


# ------------------------------------------------------------------------------------------------------------ back-off


@pytest.mark.case("T-51")
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_back_off_doubles_with_equal_jitter_up_to_a_minute(chance):
    led = Led(chance=chance)
    led.wait()
    waits = []
    led.waiting = False
    for _ in range(8):
        led.fail()
        waits.append(led.next_attempt)
        led.after(led.next_attempt)

    # Every second pause uses what the one before left of its chance.
    factors = [0.5 + 0.5 * chance, 0.5 + 0.5 * (1 - chance)] * 4
    pauses = zip([1, 2, 4, 8, 16, 32, 60, 60], factors, strict=True)
    assert waits == pytest.approx([max(1.0, step * factor) for step, factor in pauses])


@pytest.mark.case("T-51")
def test_while_requests_wait_the_next_attempt_is_at_most_ten_seconds_away():
    led = Led(chance=0.999)
    led.wait()
    for _ in range(8):
        led.fail()
        assert led.next_attempt <= 10
        led.after(led.next_attempt)


def test_a_request_that_arrives_in_a_long_back_off_pulls_the_attempt_nearer():
    led = Led(chance=0.5)
    led.wait()
    led.waiting = False
    for _ in range(8):
        led.fail()
        led.after(led.next_attempt)
    led.fail()
    assert led.next_attempt == 45

    led.after(10)
    before = led.started
    led.wait()

    assert led.started == before + 1


@pytest.mark.case("T-67")
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("waiting", "most"), [(True, 45), (False, 13)])
def test_an_endpoint_that_fails_for_ever_is_asked_seldom(seed, waiting, most):
    entropy = random.Random(seed)
    led = Led()
    led.wait()
    led.waiting = waiting
    end = led.now + 300
    while led.now < end:
        led.chance = entropy.random()
        led.fail()
        led.after(led.next_attempt)

    assert sum(1 for start in led.starts if start < end) <= most
    assert min(after - before for before, after in pairwise(led.starts)) >= 1.0


@pytest.mark.case("T-64")
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_retry_after_is_never_undercut(chance):
    led = Led(chance=chance)
    led.wait()
    led.fail(rate_limited(30))

    assert 30 <= led.next_attempt <= 33
    led.after(29.99)
    assert led.started == 1


@pytest.mark.case("T-64")
def test_not_even_an_operator_undercuts_retry_after():
    led = Led()
    led.wait()
    led.fail(rate_limited(30))

    led.ask()
    assert led.started == 1
    led.after(29)
    assert led.started == 1
    led.after(5)
    assert led.started == 2


@pytest.mark.case("T-86")
def test_attempts_never_follow_each_other_within_a_second():
    led = Led(chance=0.0)
    led.first_token(0.5)

    for _ in range(20):
        led.waiting = True
        led.after(0.1)
        if led.flying:
            led.land(0.5)

    assert min(after - before for before, after in pairwise(led.starts)) >= 1.0


@pytest.mark.case("R-366")
def test_the_old_token_serves_while_renewing_ahead_fails():
    led = Led(chance=0.0)
    token = led.first_token(1000)
    end = led.now + 990
    led.take()
    led.after(600)
    while led.now < end - 1:
        if led.flying:
            led.fail()
        led.used = True
        assert led.after(min(led.next_wake, end - 1 - led.now)) is token

    # Now the server is back. Whoever comes after the old token's end waits for the next attempt, not long.
    led.after(1)
    led.wait()
    if not led.flying:
        assert led.next_wake <= 10
        led.after(led.next_wake)
    assert led.flying
    assert led.land(1000) is not token


@pytest.mark.case("R-367")
def test_an_expired_token_is_not_served_in_an_outage():
    led = Led()
    led.first_token(100)
    led.take()

    led.run(200, UNREACHABLE)

    assert led.token is None
    assert led.state is State.BACKOFF


# -------------------------------------------------------------------------------------------------------------- brakes


@pytest.mark.case("T-62", "T-63")
def test_a_rejected_client_is_asked_once_in_five_minutes():
    led = Led()
    led.wait()
    led.run(3599, INVALID_CLIENT)

    assert led.state is State.BRAKED
    assert led.started == 12


@pytest.mark.case("T-62")
def test_an_operator_may_ask_in_spite_of_the_brake():
    led = Led()
    led.wait()
    led.fail(INVALID_CLIENT)
    led.after(10)

    led.ask()

    assert led.started == 2
    assert led.land() is not None


@pytest.mark.case("T-61")
def test_a_lost_grant_of_its_own_is_asked_for_slowly():
    led = Led(chance=0.999)
    led.wait()
    waits = []
    for _ in range(6):
        led.fail(INVALID_GRANT)
        waits.append(round(led.next_attempt))
        led.after(led.next_attempt)

    assert waits == [60, 60, 240, 240, 600, 300]


@pytest.mark.case("T-97")
def test_a_rejected_password_is_sent_three_times_and_then_no_more():
    led = Led(passwords=True)
    led.wait()
    led.run(86400, INVALID_GRANT)

    assert led.started == 3
    assert [later - led.starts[0] for later in led.starts] == pytest.approx([0, 300, 600], abs=1)
    assert (led.state, led.next_wake) == (State.BRAKED, math.inf)


@pytest.mark.case("T-60")
def test_a_lost_grant_that_only_a_human_brings_back_is_not_asked_for_again():
    led = Led(own_grant=False)
    token = led.first_token(1000, refreshable=True)
    led.take()
    led.after(600)
    led.fail(INVALID_GRANT)

    assert led.look() is token
    led.run(10_000, INVALID_GRANT)
    led.ask()

    assert led.started == 2
    assert led.state is State.AUTHORIZATION_REQUIRED


def test_the_old_token_serves_until_it_expires_while_the_client_is_rejected():
    led = Led()
    token = led.first_token(1000)
    led.take()
    led.after(600)
    led.fail(INVALID_CLIENT)

    assert led.after(380) is token
    assert led.after(20) is None


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.case("R-368")
def test_many_refusals_of_one_token_make_one_renewal():
    led = Led()
    token = led.first_token()

    assert all(led.refused(token) for _ in range(5000))
    led.fly()
    assert (led.state, led.token, led.started) == (State.SPENT, None, 2)
    newer = led.land()
    assert all(led.refused(token) for _ in range(100))
    assert (led.token, led.started) == (newer, 2)


def test_a_refusal_during_a_renewal_ahead_shares_it():
    led = Led(chance=0.0)
    led.first_token(1000)
    led.take()
    led.after(600)
    assert led.flying

    assert led.refused()
    assert (led.state, led.started) == (State.SPENT, 2)
    led.land()
    assert awaits_verdict(led.life)


@pytest.mark.case("P-234")
def test_refused_for_ever_costs_one_renewal_in_a_cooldown():
    led = Led()
    first = led.first_token()

    assert led.refused(first)
    second = led.land()
    assert not led.refused(second, replayed=True)
    assert led.state is State.DISPUTED
    for _ in range(29):
        assert led.after(1) is second
        assert not led.refused(second)
    assert led.started == 2

    led.after(1)
    assert led.refused(second)
    third = led.land()
    assert not led.refused(third, replayed=True)
    assert led.started == 3


@pytest.mark.case("R-395")
def test_the_cooldown_doubles_up_to_ten_minutes():
    led = Led()
    led.first_token(None)
    refused_again = []
    for _ in range(3 * 3600):
        led.after(1)
        if led.refused():
            refused_again.append(led.now)
            led.land(None)
            led.refused(replayed=True)

    gaps = [round(after - before) for before, after in pairwise(refused_again)]
    assert gaps[:6] == [30, 60, 120, 240, 480, 600]
    assert set(gaps[5:]) == {600}


@pytest.mark.case("R-395")
@pytest.mark.parametrize("minutes", [1, 5, 10, 20])
def test_a_token_refused_at_once_every_time_is_asked_for_logarithmically(minutes):
    led = Led()
    led.first_token(None)
    for _ in range(minutes * 60):
        if led.refused():
            led.land(None)
            led.refused(replayed=True)
        led.after(1)

    # The first token came before anything was refused.
    assert led.started - 1 <= 1 + math.ceil(math.log2(minutes * 2))


def test_the_ladder_falls_back_when_a_replay_is_accepted():
    led = Led()
    led.first_token(None)
    for _ in range(3):
        assert led.refused()
        led.land(None)
        led.refused(replayed=True)
        led.after(led.life.cooldown.until - led.now)
    assert led.refused()
    led.land(None)
    led.accepted()

    assert led.life.cooldown is None
    assert led.refused()
    led.land(None)
    led.refused(replayed=True)
    assert led.life.cooldown.until - led.now == 30


def test_a_token_that_replaced_a_refused_one_is_on_trial_until_it_is_accepted():
    led = Led()
    led.first_token()
    assert not awaits_verdict(led.life)
    led.refused()
    led.land()

    assert awaits_verdict(led.life)
    led.accepted()
    assert not awaits_verdict(led.life)
    led.after(5)
    assert led.refused()
    assert (led.state, led.started) == (State.SPENT, 3)


def test_a_token_on_trial_is_disputed_by_any_refusal():
    led = Led()
    led.first_token()
    led.refused()
    led.land()

    assert not led.refused(replayed=False)
    assert led.state is State.DISPUTED


def test_a_replay_is_not_helped_by_a_token_that_others_may_use():
    led = Led()
    led.first_token()
    led.refused()
    token = led.land()
    led.accepted()

    assert not led.refused(token, replayed=True)
    assert led.state is State.DISPUTED


def test_a_disputed_token_that_was_accepted_and_is_refused_is_spent_once_in_thirty_seconds():
    led = Led()
    led.first_token(None)
    led.refused()
    led.land(None)
    led.refused(replayed=True)
    led.accepted()
    spent_at = led.life.spent_at

    assert not led.refused()
    led.after(spent_at + 29.9 - led.now)
    assert not led.refused()
    led.after(0.2)
    assert led.refused()
    assert led.started == 3


@pytest.mark.parametrize("seed", range(5))
def test_one_path_that_is_refused_with_any_token_cannot_drive_renewals(seed):
    entropy = random.Random(seed)
    led = Led()
    led.first_token(None)
    for _ in range(6000):
        led.after(0.1)
        if entropy.random() < 0.5:
            led.accepted()
        elif led.refused():
            led.land(None)
            if entropy.random() < 0.5:
                led.accepted()
            led.refused(replayed=True)

    # Ten minutes: one renewal in thirty seconds at most.
    assert led.started <= 1 + 600 / 30 + 1


def test_renewal_by_time_goes_on_in_a_cooldown():
    led = Led(chance=0.0)
    led.first_token(100)
    led.refused()
    led.land(100)
    led.refused(replayed=True)
    led.life = replace(led.life, cooldown=Cooldown(led.now + 600, rung=4))
    disputed = led.take()

    assert led.after(60) is disputed
    assert led.flying
    newer = led.land(100)
    assert (led.state, led.token) == (State.VALID, newer)
    assert not led.refused(newer)
    assert led.started == 3


def test_a_refusal_is_relayed_when_the_client_is_rejected():
    led = Led(chance=0.0)
    led.first_token(1000)
    led.take()
    led.after(600)
    led.fail(INVALID_CLIENT)

    assert not led.refused()
    assert led.token is None


def test_a_refusal_in_a_short_back_off_waits_for_the_next_attempt():
    led = Led(chance=0.0)
    led.first_token(1000)
    led.take()
    led.after(600)
    led.fail()

    assert led.refused()
    assert led.token is None


def test_a_verdict_on_a_token_of_old_changes_nothing():
    led = Led()
    old = led.first_token()
    led.refused()
    led.land()
    led.accepted(old)

    assert awaits_verdict(led.life)


def test_the_drawing_names_every_state_but_the_one_without_a_keeper():
    drawn = diagram()

    assert drawn.startswith("stateDiagram-v2\n    [*] --> none\n")
    assert [state for state in State if f" {state}" not in drawn] == [State.NOT_APPLICABLE]


# ----------------------------------------------------------------------------------------------- revoking, authorizing


def test_a_revoked_token_is_gone_and_the_next_request_brings_another():
    led = Led()
    led.first_token()
    led.revoke()
    assert (led.token, led.state, led.started) == (None, State.NONE, 1)
    led.after(60)
    assert led.started == 1
    led.wait()
    assert led.flying


@pytest.mark.parametrize("failure", [UNREACHABLE, INVALID_CLIENT])
def test_revoking_ends_back_off_and_brake(failure):
    led = Led()
    led.wait()
    led.fail(failure)
    led.wait(waiting=False)
    led.revoke()
    assert (led.state, led.next_wake) == (State.NONE, math.inf)


def test_a_revoked_grant_that_only_a_human_can_bring_waits_for_one():
    led = Led(own_grant=False)
    led.first_token()
    led.revoke()
    assert led.state is State.AUTHORIZATION_REQUIRED
    led.wait()
    assert (led.started, led.next_attempt) == (1, math.inf)
    led.authorize()
    assert led.state is State.VALID


def test_an_authorization_that_brings_a_token_too_late_is_followed_by_a_refresh():
    led = Led(own_grant=False)
    led.wait()
    led.fail(INVALID_GRANT)
    led.authorize(lifetime=-5.0)
    assert led.state is State.BACKOFF
    led.land()
    assert led.state is State.VALID


def test_what_failed_for_want_of_the_store_begins_as_soon_as_it_may_when_the_store_is_back():
    led = Led()
    led.ask(first=True)
    led.fail()
    led.after(0.99)

    led.regain()  # too soon for another attempt, and nobody waits or asks

    assert not led.flying
    assert led.next_wake == pytest.approx(0.01)
    led.after(led.next_wake)
    assert led.flying


def test_a_store_that_is_back_in_the_middle_of_an_attempt_changes_nothing_of_it():
    led = Led()
    led.ask(first=True)
    led.regain()
    assert led.flying
    led.land()
    assert led.started == 1
