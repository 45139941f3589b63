"""Clocks that step, and machines that sleep, at every stage of a token's life: what it costs, and nobody notices."""

from itertools import pairwise

import pytest

from proxy.access_token import Refused
from proxy.tokens.states import State
from tests.tokens.played import played

LIFETIME = 3600
HOUR, DAY = 3600.0, 86400.0
STEPS = {"an hour ahead": HOUR, "an hour back": -HOUR, "a day ahead": DAY, "a day back": -DAY, "by half a minute": 30.0}


def cold(play):
    pass


def asked_for(play):
    play.wait()


def unused(play):
    """Have a token that no request has asked for, so that nothing happens by itself."""
    renewing = play.time.start(play.keeper.renew(), "operator")
    play.answer("token-1")
    play.time.pass_time(5)
    assert renewing.done()


def fresh(play):
    play.first_token()
    play.time.pass_time(5)


def nearly_due(play):
    unused(play)
    play.time.pass_time(0.5 * LIFETIME)
    assert play.keeper.snapshot().state is State.VALID


def being_renewed(play):
    unused(play)
    play.time.pass_time(0.7 * LIFETIME)
    play.take()
    assert (len(play.endpoint.open), play.keeper.snapshot().state) == (1, State.DUE)


def failing_while_it_serves(play):
    being_renewed(play)
    play.endpoint.open[0].say(503, {})
    play.time.settle()


def nearly_expired(play):
    unused(play)
    play.time.pass_time(LIFETIME - 16)
    assert play.keeper.snapshot().state is State.DUE


def expired(play):
    unused(play)
    play.time.pass_time(LIFETIME)
    assert play.keeper.snapshot().state is State.EXPIRED


def failing_without_a_token(play):
    play.wait()
    play.endpoint.open[0].say(503, {})
    play.time.settle()


def disputed(play):
    fresh(play)
    play.time.call(play.keeper.refused, play.take())
    play.answer("token-2")
    refused = play.time.call(play.keeper.refused, play.take(), replayed=True)
    assert (refused, play.keeper.snapshot().state) == (Refused.RELAY, State.DISPUTED)


STAGES = [
    cold, asked_for, fresh, nearly_due, being_renewed, failing_while_it_serves, nearly_expired, expired,
    failing_without_a_token, disputed,
]  # fmt: skip


def served(play, seconds, every):
    """Let an application ask all the time; return the token requests that it costs. Each request has to be served."""
    before = len(play.endpoint.asked) - len(play.endpoint.open)
    number = len(play.endpoint.asked)
    play.endpoint.always = lambda asked: asked.token(f"token-{number}-{asked.at}", LIFETIME)
    for asked in list(play.endpoint.open):
        asked.token("token-late", LIFETIME)
    play.time.settle()
    for _ in range(int(seconds / every)):
        waiting = play.wait()
        play.time.pass_time(every)
        assert waiting.done()
        assert waiting.exception() is None
    return len(play.endpoint.asked) - before


@pytest.mark.case("R-391")
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_of_the_wall_clock_costs_one_token_request_more_at_most_and_no_request_fails(stage, step):
    costs = []
    for seconds in (0.0, step):
        with played() as play:
            stage(play)
            play.time.step_wall(seconds)
            costs.append(served(play, 120, every=5))

    undisturbed, stepped = costs
    assert stepped <= undisturbed + 1


@pytest.mark.case("R-391")
@pytest.mark.parametrize("step", [-DAY, -HOUR, -1.0])
@pytest.mark.parametrize("stage", [fresh, nearly_due, failing_while_it_serves, nearly_expired])
def test_a_step_back_never_makes_a_token_last_longer(stage, step):
    with played() as play:
        began = play.time.now
        stage(play)
        play.time.step_wall(step)
        play.time.pass_time(began + LIFETIME - 10.002 - play.time.now)
        served_to_the_end = play.take().value.reveal()
        play.time.pass_time(0.004)
        assert served_to_the_end == "token-1"

        assert play.take() is None


@pytest.mark.case("R-391")
def test_a_clock_that_goes_to_and_fro_costs_one_token_request_in_all():
    with played() as play:
        fresh(play)
        costs = []
        for _ in range(5):
            play.time.step_wall(DAY)
            costs.append(served(play, 60, every=5))
            play.time.step_wall(-DAY)
            costs.append(served(play, 60, every=5))

        assert costs == [1, *[0] * 9]


@pytest.mark.case("R-392")
@pytest.mark.parametrize("hours", [1, 8, 72])
def test_after_a_sleep_the_token_is_renewed_before_it_is_sent(hours):
    with played() as play:
        fresh(play)
        play.time.step_wall(hours * HOUR)  # the monotonic clock stood still, and so did every timer
        assert play.take() is None
        waiting = [play.wait() for _ in range(100)]
        assert len(play.endpoint.open) == 1
        play.answer("token-2")

        assert {task.result().value.reveal() for task in waiting} == {"token-2"}
        assert len(play.endpoint.asked) == 2


@pytest.mark.case("R-392")
def test_a_token_that_outlasts_the_sleep_goes_on_serving_and_is_renewed_behind_it():
    with played() as play:
        play.first_token(lifetime=86400)
        play.time.pass_time(5)
        play.time.step_wall(23.5 * HOUR)

        assert play.take().value.reveal() == "token-1"
        assert len(play.endpoint.open) == 1
        play.answer("token-2")
        assert play.take().value.reveal() == "token-2"


@pytest.mark.case("R-392")
def test_an_answer_that_slept_longer_than_its_token_lives_is_not_used():
    with played() as play:
        waiting = play.wait()
        play.time.step_wall(8 * HOUR)
        play.answer("token-1", lifetime=LIFETIME)
        assert play.take() is None
        assert play.keeper.snapshot().last_error == "token_expired_on_arrival"
        play.time.pass_time(1.1)
        play.answer("token-2", lifetime=LIFETIME)

        assert waiting.result().value.reveal() == "token-2"


@pytest.mark.case("R-394")
def test_tokens_that_always_come_too_late_are_asked_for_once_a_step():
    with played() as play:
        waiting = [play.wait()]
        for _ in range(400):
            for asked in play.endpoint.open:
                if play.time.now >= asked.at + 2:
                    asked.token("token", lifetime=1)
            play.time.pass_time(0.25)
            if waiting[-1].done():
                waiting.append(play.wait())
        *refused, last = waiting
        last.cancel()

        assert {task.exception().problem.code for task in refused} == {"token_expired_on_arrival"}
        assert all(later.at - earlier.at >= 2 for earlier, later in pairwise(play.endpoint.asked))
        assert len(play.endpoint.asked) < 40


@pytest.mark.case("T-88")
def test_an_absurd_lifetime_is_a_month_on_both_clocks():
    with played() as play:
        play.first_token(lifetime=10**18)

        assert play.keeper.snapshot().expires_at == play.time.wall() + 30 * DAY
        play.time.step_wall(30 * DAY)
        assert play.take() is None
