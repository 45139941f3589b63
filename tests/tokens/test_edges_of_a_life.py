"""What a life does at the edges: at the very moment, twice in a row, while something else is going on."""

from dataclasses import replace

import pytest

from proxy.access_token import AccessToken
from proxy.secret import Secret
from proxy.tokens.lease import Ahead, Moment, deadline, due_after, lease
from proxy.tokens.lifecycle import awaits_verdict, next_renewal
from proxy.tokens.pace import brake_after_password
from proxy.tokens.retries import Retries
from proxy.tokens.states import AuthorizationRequired, Braked, Resting, State, last_failure
from tests.support.fake_time import FakeTime
from tests.tokens.lives import INVALID_CLIENT, INVALID_GRANT, POLICY, UNREACHABLE, Led, rate_limited

ANOTHER = AccessToken(Secret("another"), 1)


def fresh(seconds=1000, **policy):
    """A token that an upstream has accepted, a hundred seconds old."""
    led = Led(chance=0.0, **policy)
    led.first_token(seconds)
    led.accepted()
    led.after(100)
    return led


def disputed(**policy):
    """A token that was refused although its predecessor had been refused, too."""
    led = fresh(**policy)
    assert led.refused()
    led.land(1000)
    assert not led.refused()
    assert led.state is State.DISPUTED
    return led


def failing(led, times, failure=UNREACHABLE):
    """Let so many attempts in a row fail, with nobody who waits afterwards."""
    led.wait()
    for _ in range(times):
        led.fail(failure)
        led.after(max(led.next_attempt, 0.0))
    led.fail(failure)
    led.wait(waiting=False)
    return led


# What an operator asks for


def test_asking_while_a_renewal_is_under_way_asks_for_no_other():
    led = Led()
    led.wait()
    led.ask()
    led.land()
    led.after(5)

    assert led.started == 1


def test_asking_where_only_a_human_can_help_is_forgotten_by_the_time_that_one_has():
    led = Led(own_grant=False)
    led.wait()
    led.fail(INVALID_GRANT)
    led.ask()
    led.authorize()
    led.after(5)

    assert led.started == 1


def test_the_prefetch_does_not_take_back_what_an_operator_has_asked_for():
    led = failing(Led(), 7)
    led.ask()
    led.ask(first=True)
    led.after(1)

    assert led.started == 9


# What is there again


def test_once_the_store_is_there_again_the_next_attempt_does_not_wait_for_the_pause_to_end():
    led = failing(Led(), 7)
    assert (led.started, led.next_wake > 1) == (8, True)
    led.regain()
    led.after(1)

    assert led.started == 9


def test_a_store_that_is_there_again_disturbs_no_renewal():
    led = Led()
    led.wait()
    led.after(2)
    led.regain()

    assert (led.flying, led.started) == (True, 1)


# Time alone


def test_a_disputed_token_is_valid_again_once_the_cooldown_is_over():
    led = disputed()
    led.after(29.9)
    assert led.state is State.DISPUTED
    led.after(0.1)

    assert led.state is State.VALID


def test_a_token_that_is_not_the_disputed_one_falls_due_in_a_cooldown_as_ever():
    led = disputed(cooldown_min=300.0)
    led.ask()
    led.land(100)
    assert led.state is State.VALID
    led.used = False
    led.after(61)

    assert led.state is State.DUE


def test_a_wall_clock_that_is_set_back_does_not_make_a_due_token_valid_again():
    led = fresh()
    led.used = False
    led.wall += 600
    led.look()
    assert led.state is State.DUE
    led.wall -= 600
    led.look()

    assert led.state is State.DUE


def test_an_instant_is_reached_at_its_very_moment_on_either_clock():
    instant = deadline(Moment(1000.0, 5000.0), 10.0)

    assert instant.passed(Moment(1010.0, 5000.0))
    assert instant.passed(Moment(1000.0, 5010.0))
    assert not instant.passed(Moment(1009.9, 5009.9))


def test_a_grant_that_never_brought_a_token_is_not_kept_alive_but_tried_again():
    led = Led(keep_alive=300.0)
    led.wait()
    led.fail(UNREACHABLE, refreshable=True)
    led.wait(waiting=False)

    assert 0 < led.next_wake < 5


def test_a_human_is_waited_for_and_no_renewal_is_announced_while_the_old_token_serves():
    led = fresh()
    human = replace(led.life, errand=AuthorizationRequired(INVALID_GRANT))

    assert next_renewal(human, led.at, POLICY, led.demand) == float("inf")


# What upstreams say


def test_a_refusal_of_the_token_before_is_relayed_only_while_the_new_one_is_known_to_be_no_better():
    led = fresh()
    before = led.token
    led.refused()
    led.land(1000)
    assert led.refused(before)
    led.refused()
    assert not led.refused(before)
    led.accepted()

    assert led.refused(before)


def test_a_disputed_token_that_works_elsewhere_may_be_spent_again_at_the_end_of_the_shortest_cooldown():
    led = fresh(cooldown_min=30.0)
    spent_at = led.now
    led.refused()
    led.land(1000, seconds=5)
    led.refused()
    led.accepted()
    led.after(spent_at + 29 - led.now)
    assert not led.refused()
    led.after(1)

    assert led.refused()


def test_a_refusal_is_answered_by_a_renewal_that_begins_at_the_last_moment_of_patience():
    led = fresh(token_wait=300.0, brake=300.0)
    led.refused()
    led.fail(INVALID_CLIENT)

    assert led.refused(ANOTHER)
    assert not replace_patience(led, 299.0).refused(ANOTHER)


def replace_patience(led, seconds):
    led.policy = replace(led.policy, token_wait=seconds)
    return led


def test_a_refusal_in_a_long_pause_waits_for_the_attempt_that_requests_hurry():
    led = failing(Led(), 8)
    assert led.next_attempt > POLICY.token_wait

    assert led.refused(ANOTHER)


def test_an_accepted_token_that_is_due_is_due_still():
    led = Led(chance=0.0)
    led.first_token()
    led.used = False
    led.after(2400)
    led.accepted()

    assert led.state is State.DUE


def test_a_disputed_token_that_is_accepted_is_disputed_still():
    led = disputed()
    led.accepted()

    assert led.state is State.DISPUTED


def test_that_another_token_works_says_nothing_about_renewing_after_a_refusal():
    led = disputed(cooldown_min=300.0)
    led.ask()
    led.land(1000)
    led.accepted()

    assert led.life.cooldown is not None


def test_a_token_that_was_disputed_does_not_end_the_doubling_when_it_is_accepted_later():
    led = disputed()
    led.after(30)
    assert led.state is State.VALID
    led.accepted()
    led.refused()
    led.land(1000)
    began = led.now
    led.refused()

    assert led.life.cooldown.until == began + 60


def test_a_verdict_is_awaited_on_what_was_renewed_in_a_cooldown_and_not_where_there_is_no_token():
    led = disputed(cooldown_min=300.0)
    led.ask()
    led.land(1000)

    assert awaits_verdict(led.life)
    led.accepted()
    assert not awaits_verdict(led.life)
    assert not awaits_verdict(Led().life)


# Failures in a row


def test_every_failure_counts_for_the_next_pause_also_one_that_was_braked():
    led = Led(brake=2.0)
    led.wait()
    for number in range(1, 4):
        led.fail(INVALID_CLIENT)
        assert isinstance(led.life.errand, Braked)
        assert led.life.errand.failures == number
        led.after(2)
    led.fail(UNREACHABLE)

    assert led.next_attempt == 0.75 * 8


@pytest.mark.parametrize(("retry_after", "until"), [(None, 300.0), (10.0, 300.0), (1000.0, 1000.0)])
def test_a_brake_lasts_as_long_as_the_server_asks_for_where_that_is_longer(retry_after, until):
    led = Led()
    led.wait()
    led.fail(replace(INVALID_CLIENT, retry_after=retry_after))

    assert led.next_attempt == until


def test_a_client_that_was_rejected_is_tried_again_after_the_brake_although_nobody_waits():
    led = failing(Led(), 0, INVALID_CLIENT)
    led.after(299)
    assert led.started == 1
    led.after(1)

    assert led.started == 2


def test_a_brake_of_no_time_holds_up_nobody():
    led = Led(brake=0.0)
    led.wait()
    led.after(5)
    led.fail(INVALID_CLIENT)

    assert led.next_attempt == 0


def test_the_first_pause_of_each_pair_is_by_chance_anew():
    led = Led(chance=1.0)
    led.wait()
    pauses = []
    for chance in (1.0, 1.0, 0.0, 0.0):
        led.chance = chance
        led.fail()
        pauses.append(led.next_attempt)
        led.after(led.next_attempt)

    assert pauses == [1.0, 1.0, 2.0, 8.0]  # 1; half of 2, for the one before was long; half of 4; 8


def test_what_is_remembered_of_refused_passwords_does_not_grow():
    led = Led(passwords=True)
    led.wait()
    for _ in range(6):
        led.fail(INVALID_GRANT)
        led.after(7200)

    assert len(led.life.rejections) == 3


def test_a_password_that_was_refused_an_hour_ago_is_not_held_against_anybody():
    assert brake_after_password(POLICY, (-2600.0, 998.0, 999.0), 1000.0) == 1300.0
    assert brake_after_password(POLICY, (-2599.9, 998.0, 999.0), 1000.0) == float("inf")


def test_what_was_given_back_says_so_where_only_a_human_brings_another():
    led = Led(own_grant=False)
    led.authorize()
    led.revoke()

    assert last_failure(led.life).code == "revoked"
    assert isinstance(led.life.errand, AuthorizationRequired)


def test_a_pause_that_the_server_asked_for_ends_with_a_revocation():
    led = Led()
    led.wait()
    led.fail(rate_limited(600))
    led.wait(waiting=False)
    led.revoke()

    assert isinstance(led.life.errand, Resting)


# The arithmetic


def test_a_lead_of_little_more_than_a_second_is_seconds_and_no_ratio():
    assert due_after(1000.0, Ahead(1.5, written=True), 0.0) == 990.0
    assert due_after(1000.0, Ahead(1.0, written=True), 0.0) == 100.0


def test_a_token_that_is_handed_out_again_rests_half_a_minute_at_least():
    made = lease(ANOTHER, 40.0, Ahead(0.9, written=True), at=Moment(1000.0, 5000.0), replaces_refused=False, same=True)

    assert made.due.monotonic == 1030.0


def test_of_many_retries_sixteen_begin_in_a_second():
    time = FakeTime()
    retries = Retries(time.monotonic)

    def all_at_once():
        return [retries.turn(1) for _ in range(40)]

    line = time.call(all_at_once)
    time.pass_time(0.99)

    assert sum(turn.done() for turn in line) == 16
    time.pass_time(2)
    assert all(turn.done() for turn in line)
    time.close()
