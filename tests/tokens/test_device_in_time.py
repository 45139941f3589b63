"""A device that is polled while time passes: what was granted is kept, whatever ends at the same moment."""

import pytest

from tests.tokens.played import played


def begun(play, expires_in=600):
    """Return the play with a device that somebody was told of, and the first poll under way."""
    started = play.time.start(play.keeper.consent.device(), "device")
    [asked] = play.endpoint.open
    asked.say(200, {"device_code": "d", "user_code": "u", "verification_uri": "https://a.example/d",
                    "expires_in": expires_in, "interval": 5})  # fmt: skip
    play.time.settle()
    assert started.result().user_code == "u"
    play.time.pass_time(5.001)
    return play


@pytest.fixture
def play():
    with played(grant_type="device_code") as begun:
        yield begun


def test_a_poll_that_is_answered_after_the_code_has_expired_brings_the_grant_all_the_same(play):
    begun(play, expires_in=6)
    play.time.pass_time(3)  # the server agreed in time, and its answer took long
    play.answer("token-1", refresh_token="r1")

    assert play.take().value.reveal() == "token-1"
    assert play.store.written == ["r1"]


def test_a_grant_that_is_being_stored_when_the_code_expires_is_stored(play):
    begun(play, expires_in=6)
    with play.store.slow() as durable:
        play.answer("token-1", refresh_token="r1")
        play.time.pass_time(3)
        assert play.store.written == []
        durable.set()
        play.time.settle()

    assert play.store.written == ["r1"]
    assert play.take().value.reveal() == "token-1"


def test_a_grant_that_is_being_stored_when_somebody_begins_anew_is_stored(play):
    begun(play)
    with play.store.slow() as durable:
        play.answer("token-1", refresh_token="r1")
        begun(play)
        durable.set()
        play.time.settle()

    assert play.store.written == ["r1"]


def test_a_code_that_nobody_enters_is_polled_until_it_expires_and_requests_wait_no_longer(play):
    begun(play, expires_in=16)
    waiting = play.wait()
    for _ in range(3):
        [asked] = play.endpoint.open
        asked.say(400, {"error": "authorization_pending"})
        play.time.settle()
        play.time.pass_time(5.001)

    assert len(play.endpoint.asked) == 4
    assert waiting.exception().problem.code == "authorization_required"
    assert "authorization_failed" in [event.kind for event in play.keeper.events]
