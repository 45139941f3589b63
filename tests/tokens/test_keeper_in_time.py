"""A keeper on a clock that tests move: in which order things happen, and what does not happen any more.

`test_keeper.py` has the same over real sockets, where what comes a moment too late is not seen.
"""

import asyncio
import gc
import weakref
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from proxy.access_token import Refused
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.grant import NO_GRANT
from proxy.tokens.states import State
from proxy.tokens.stored import Stored
from tests.tokens.played import Play, played
from tests.tokens.shared_grants import SharedGrants
from tests.tokens.test_course import brought, code_of, serves, stored

REVOKED_AT = compile_url("https://auth.example.com/revoke")


def kinds(play):
    return [event.kind for event in play.keeper.events]


def failing(play, status=503, **headers):
    """Let the endpoint refuse from now on."""
    play.endpoint.always = lambda asked: asked.say(status, {}, **headers)


def distances(play):
    moments = [asked.at for asked in play.endpoint.asked]
    return [later - earlier for earlier, later in pairwise(moments)]


# --------------------------------------------------------------------------------------------------- what is a use


def test_many_who_wait_make_one_task_of_a_renewal():
    with played() as play:
        for _ in range(3):
            play.wait()
            play.time.pass_time(1)

        assert [task.get_name() for task in asyncio.all_tasks(play.time.loop) if "renewal" in task.get_name()] == [
            "renewal:crm"
        ]


def test_a_token_that_somebody_waited_for_is_renewed_ahead():
    with played(chance=lambda: 0.0) as play:
        play.first_token()
        play.time.pass_time(2161)

        assert len(play.endpoint.open) == 1


def test_a_use_is_not_forgotten_when_an_upstream_accepts_the_token():
    with played(chance=lambda: 0.0) as play:
        play.renew()
        play.answer("token-1")
        play.time.call(play.keeper.accepted, play.take())
        play.time.pass_time(2161)

        assert len(play.endpoint.open) == 1


def test_a_token_that_nobody_has_taken_is_not_renewed_although_the_one_before_was_used():
    with played(chance=lambda: 0.0) as play:
        play.first_token()
        play.time.pass_time(2161)
        play.answer("token-2")
        play.time.pass_time(7200)

        assert len(play.endpoint.asked) == 2


def test_an_endpoint_that_hangs_is_asked_seldom_while_nobody_wants_a_token():
    with played() as play:
        play.renew()
        play.time.pass_time(600)

        assert max(distances(play)) > 25
        assert len(play.endpoint.asked) < 25


def test_one_use_does_not_hurry_all_attempts_that_follow():
    with played() as play:
        play.first_token()
        failing(play)
        play.time.pass_time(3500)

        assert max(distances(play)[1:]) > 25


def test_whoever_has_left_does_not_hurry_the_attempts_that_follow():
    with played() as play:
        leaving = play.wait()
        leaving.cancel()
        failing(play)
        [asked] = play.endpoint.open
        asked.say(503, {})
        play.time.pass_time(600)

        assert max(distances(play)) > 25


def test_a_token_is_not_taken_at_the_very_moment_at_which_it_ends():
    with played() as play:
        play.first_token(lifetime=100)
        play.time.advance(90)

        assert play.take() is None


def test_a_token_serves_while_a_renewal_of_before_hangs():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        grants.put(stored(9, "r9", "a9", asked_at=play.time.wall(), lifetime=10.0))
        play.time.call(play.keeper.heard)
        play.time.pass_time(8.5)

        assert serves(play, "a9")
        assert len(play.endpoint.open) == 1


# ------------------------------------------------------------------------------------------------------- operators


def test_an_operator_does_not_wait_in_the_line_of_retries():
    with played(gap=60.0) as play:
        play.wait()
        failing(play)
        play.endpoint.open[0].say(503, {})
        play.time.pass_time(14)
        before = len(play.endpoint.asked)
        assert play.keeper.snapshot().next_action.value == "renewing"
        play.renew()

        assert len(play.endpoint.asked) == before + 1


def test_what_an_operator_has_asked_for_begins_when_it_may_without_a_turn():
    with played(gap=600.0) as play:
        failing(play, retry_after="5")
        play.wait()
        play.time.pass_time(7)
        before = len(play.endpoint.asked)
        play.renew()
        assert len(play.endpoint.asked) == before
        play.time.pass_time(6)

        assert len(play.endpoint.asked) == before + 1


@pytest.mark.parametrize(("seconds", "waits"), [("15", True), ("16", False)])
def test_an_operator_waits_for_what_begins_within_the_patience_of_requests(seconds, waits):
    with played(chance=lambda: 0.0) as play:
        play.renew()
        play.endpoint.open[0].say(503, {}, retry_after=seconds)
        play.time.settle()
        operator = play.renew()

        assert operator.done() is not waits
        play.time.pass_time(15.5)
        assert len(play.endpoint.open) == waits


def test_a_retry_that_stands_in_line_when_everything_is_given_back_asks_nobody():
    with played(gap=60.0) as play:
        waiting = play.wait()
        failing(play)
        play.endpoint.open[0].say(503, {})
        play.time.pass_time(14)
        assert play.keeper.snapshot().next_action.value == "renewing"
        waiting.cancel()
        before = len(play.endpoint.asked)
        play.time.run(play.keeper.revoke())
        play.time.pass_time(2)
        assert len(play.endpoint.asked) == before
        assert kinds(play)[0] == "revoked"
        play.endpoint.always = None
        assert play.first_token("token-1").value.reveal() == "token-1"


def test_what_a_renewal_brings_after_a_revocation_leaves_no_trace_in_the_life():
    with played() as play:
        waiting = play.wait()
        waiting.cancel()
        play.time.run(play.keeper.revoke())
        play.answer("late")

        assert play.take() is None
        assert (play.keeper.snapshot().state, play.keeper.snapshot().last_error) == (State.NONE, None)
        play.time.pass_time(100)
        assert len(play.endpoint.asked) == 1


def test_a_renewal_that_stood_behind_another_one_is_not_begun_once_everything_is_given_back():
    with played() as play:
        waiting = play.wait()
        play.time.run(play.keeper.revoke())
        play.time.pass_time(2)
        assert len(play.endpoint.asked) == 1  # another one stands behind it
        waiting.cancel()
        play.time.run(play.keeper.revoke())
        play.answer("late")
        play.time.pass_time(10)

        assert len(play.endpoint.asked) == 1


def test_two_renewals_of_one_connection_are_never_under_way_together():
    with played() as play:
        waiting = play.wait()
        play.time.run(play.keeper.revoke())
        play.time.pass_time(2)
        assert len(play.endpoint.open) == 1
        play.answer("late")
        play.answer("token-2")

        assert waiting.result().value.reveal() == "token-2"


# --------------------------------------------------------------------------------------------------------- consent


def test_what_somebody_authorized_is_not_followed_by_the_failure_of_what_it_replaced():
    with played(grant_type="authorization_code", refresh_token="seed") as play:
        waiting = play.wait()
        [old] = play.endpoint.open
        play.authorize()
        play.endpoint.open[1].token("new", refresh_token="r1")
        play.time.settle()
        old.say(503, {})
        play.time.settle()

        assert waiting.result().value.reveal() == "new"
        assert play.keeper.snapshot().last_error is None
        play.time.pass_time(100)
        assert len(play.endpoint.asked) == 2


def test_an_authorization_that_ends_in_a_mistake_of_ours_leaves_nobody_waiting_for_ever():
    with played(grant_type="authorization_code", refresh_token="seed") as play:
        waiting = play.wait()
        [old] = play.endpoint.open
        browser = play.authorize()
        play.store.fault = RuntimeError("a mistake of ours")
        play.endpoint.open[1].token("new", refresh_token="r1")
        play.time.settle()
        assert isinstance(browser.exception(), RuntimeError)
        play.store.fault = None
        old.token("old")
        play.time.settle()
        assert play.keeper.snapshot().last_error == "revoked_meanwhile"
        play.time.pass_time(3)
        play.answer("token-3")

        assert waiting.result().value.reveal() == "token-3"


def test_requests_wait_for_a_human_until_the_very_moment_that_was_named():
    with played(grant_type="authorization_code") as play:
        play.time.call(play.keeper.consent.expected, 10.0)
        play.time.advance(9)
        waiting = play.wait()
        assert not waiting.done()
        waiting.cancel()
        play.time.advance(1)

        assert code_of(play.wait()) == "authorization_required"


def test_requests_are_told_as_soon_as_an_authorization_has_failed():
    with played(grant_type="authorization_code") as play:
        play.time.call(play.keeper.consent.expected, 600.0)
        waiting = play.wait()
        browser = play.authorize()
        play.refuse("invalid_grant")

        assert code_of(browser) == "authorization_failed"
        assert code_of(waiting) == "authorization_required"


# ---------------------------------------------------------------------------------------------------- other replicas


def test_a_renewal_that_fails_after_another_replicas_token_came_is_told_and_changes_nothing():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        grants.put(stored(9, "r9", "a9", asked_at=play.time.wall()))
        play.time.call(play.keeper.heard)
        play.time.settle()
        play.endpoint.open[0].say(503, {})
        play.time.settle()

        assert kinds(play)[:2] == ["failed", "adopted"]
        assert play.keeper.snapshot().last_error is None
        assert serves(play, "a9")


def test_a_renewal_that_waits_behind_another_one_is_not_begun_where_a_token_came_meanwhile():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        grants.put(stored(9, "r9", "a9", asked_at=play.time.wall()))
        play.time.call(play.keeper.heard)
        play.time.pass_time(2)
        assert play.time.call(play.keeper.refused, play.take()) is Refused.RETRY
        grants.put(stored(10, "r10", "a10", asked_at=play.time.wall()))
        play.time.call(play.keeper.heard)
        play.time.settle()
        assert serves(play, "a10")
        play.endpoint.open[0].say(503, {})
        play.time.pass_time(5)

        assert play.sent == ["r0"]
        assert serves(play, "a10")


def test_that_another_replica_gave_everything_back_is_heard_once():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        play.answer("a1", refresh_token="r1")
        grants.put(Stored(9, NO_GRANT, revoked=True))
        for _ in range(3):
            play.time.call(play.keeper.heard)
            play.time.settle()

        assert kinds(play).count("revoked") == 1
        assert play.take() is None
        assert play.keeper.snapshot().state is State.AUTHORIZATION_REQUIRED


def test_a_look_at_a_store_that_hangs_ends_with_the_keeper():
    grants = SharedGrants()
    with brought(grants) as play:
        grants.hanging = True
        play.time.call(play.keeper.heard)
        play.time.settle()
        play.close()

        assert play.time.next_timer is None


# ----------------------------------------------------------------------------------------------------- what is told


def test_the_line_of_a_failure_tells_the_seconds_until_the_next_attempt_with_one_digit():
    with played(chance=lambda: 0.123) as play, capture_logs() as lines:
        waiting = play.wait()
        play.time.pass_time(0.4)
        play.refuse("", 503)
        play.time.pass_time(0.61)
        play.refuse("", 503)
        told = [line["next_attempt_in"] for line in lines if line["event"] == "renewal"]
        waiting.cancel()

        # A second after the first attempt began; 0.9385 of 2 seconds after the second one did.
        assert told == [0.6, 1.9]


def test_a_token_that_expired_on_its_way_is_told_as_a_failure():
    with played() as play:
        play.renew()
        play.time.pass_time(5)
        play.answer("token-1", lifetime=2)

        assert kinds(play) == ["failed"]
        assert "token_expired_on_arrival" in play.keeper.events[0].text


def test_that_a_human_is_needed_is_not_told_as_a_failure_of_the_server():
    with played(grant_type="authorization_code") as play:
        play.authorize()
        play.answer("a1")
        operator = play.renew()
        play.time.pass_time(2)

        assert code_of(operator) == "authorization_required"
        assert "failed" not in kinds(play)


def test_a_snapshot_tells_when_the_last_token_came_and_how_far_the_clocks_are_apart():
    with played() as play:
        play.first_token()
        came = play.time.wall()
        play.time.pass_time(100)

        assert play.keeper.snapshot().last_renewal_at == came
        assert play.keeper.snapshot().tried
        assert play.keeper.skew == 0.0


# --------------------------------------------------------------------------------------------------- start and stop


def test_the_first_token_is_asked_for_at_a_moment_by_chance_within_the_prefetch():
    with played(prefetch=100.0, chance=lambda: 0.25) as play:
        play.time.call(play.keeper.start)
        play.time.pass_time(24.9)
        assert play.endpoint.asked == []
        play.time.pass_time(0.2)

        assert len(play.endpoint.asked) == 1


def test_what_is_closed_has_no_timer_left():
    with played(prefetch=100.0) as play:
        play.time.call(play.keeper.start)
        play.first_token()
        play.close()

        assert play.time.next_timer is None


def test_what_is_closed_begins_nothing_and_tells_everybody_why():
    with played() as play:
        token = play.first_token(lifetime=100)
        play.time.pass_time(5)
        play.close()
        assert play.time.call(play.keeper.refused, token) is Refused.RELAY
        operator, request = play.renew(), play.wait()

        assert code_of(operator) == code_of(request) == "token_unavailable"
        assert "shutting down" in str(request.exception())
        assert "shutting down" in str(operator.exception())
        assert len(play.endpoint.asked) == 1


def test_what_is_retired_is_closed():
    with played() as play:
        play.first_token()
        play.time.run(play.keeper.retire())

        assert play.time.next_timer is None
        assert code_of(play.renew()) == "token_unavailable"


def test_what_comes_for_a_connection_that_is_gone_is_stored_where_other_replicas_have_it():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        retiring = play.time.start(play.keeper.retire(), "retiring")
        assert not retiring.done()
        play.answer("a1", refresh_token="r1")

        assert retiring.done()
        assert grants.refresh_token() == "r1"


def test_tokens_that_are_being_given_back_hold_up_nobody_who_closes():
    with played(revocation_url=REVOKED_AT) as play:
        play.wait()
        play.endpoint.open[0].token("token-1")
        play.time.settle()
        play.time.pass_time(2)
        play.renew()
        revoking = play.time.start(play.keeper.revoke(), "revoking")
        play.endpoint.open[0].token("late")
        play.time.settle()
        play.close()
        revoking.cancel()
        play.time.settle()

        assert play.endpoint.open == []


def test_a_keeper_that_was_replaced_is_not_kept_by_the_one_that_replaced_it():
    with played() as new:
        old = Play(new.time)
        gone = weakref.ref(old.keeper)
        next_one = Play(new.time, before=old)
        new.time.call(next_one.keeper.start)
        new.time.run(old.keeper.retire())
        del old
        gc.collect()

        assert gone() is None
        next_one.close()


def test_the_prefetch_renews_nothing_where_a_request_was_faster():
    with played(prefetch=100.0, chance=lambda: 0.25) as play:
        play.time.call(play.keeper.start)
        play.first_token()
        play.time.pass_time(30)

        assert len(play.endpoint.asked) == 1


def test_nothing_begins_while_a_keeper_that_retires_waits_for_what_is_under_way():
    with played(revocation_url=REVOKED_AT) as play:
        token = play.first_token()
        play.time.pass_time(5)
        play.renew()
        retiring = play.time.start(play.keeper.retire(), "retiring")
        assert not retiring.done()

        assert play.time.call(play.keeper.refused, token) is Refused.RELAY
        assert code_of(play.wait()) == "token_unavailable"


def test_a_mistake_of_ours_is_a_failure_like_others():
    with played() as play:
        play.store.fault = RuntimeError("a mistake of ours")
        play.wait()
        assert play.keeper.snapshot().last_error == "internal_error"
        play.store.fault = None
        play.time.pass_time(2)

        assert len(play.endpoint.open) == 1


def test_without_a_grant_requests_are_told_at_once_that_a_human_is_needed():
    with played(grant_type="authorization_code") as play:
        assert code_of(play.wait()) == "authorization_required"


def test_a_store_that_is_back_ends_the_pause_and_another_failure_does_not():
    grants = SharedGrants()
    with brought(grants) as play:
        grants.away = True
        play.renew()
        play.time.pass_time(300)
        grants.away = False
        play.time.call(play.keeper.heard)
        play.wait()
        play.time.pass_time(1.1)
        assert play.sent == ["r0"]
        play.endpoint.always = lambda asked: asked.say(503, {}, retry_after="60")
        play.refuse("", 503)
        play.time.pass_time(5)
        before = len(play.sent)
        play.time.call(play.keeper.heard)
        play.time.pass_time(5)

        assert len(play.sent) == before


def test_a_grant_that_another_replica_has_brought_ends_the_wait_for_a_human():
    grants = SharedGrants()
    with brought(grants, grant_type="authorization_code", refresh_token=None) as play:
        assert code_of(play.wait()) == "authorization_required"
        grants.put(stored(7, "r7"))
        play.time.call(play.keeper.heard)
        play.wait()

        assert play.sent == ["r7"]


def test_a_renewal_that_lasts_longer_than_the_token_another_replica_brought_meanwhile_is_not_lost():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        grants.put(stored(9, "r0", "a9", asked_at=play.time.wall(), lifetime=5.0))
        play.time.call(play.keeper.heard)
        play.time.pass_time(8)
        assert play.take() is None
        play.answer("a10", refresh_token="r10")

        assert serves(play, "a10")
        assert grants.refresh_token() == "r10"


def test_a_scope_that_nobody_asked_for_is_no_oddity():
    with played() as play, capture_logs() as lines:
        play.first_token(scope="read")

        assert [line["log_level"] for line in lines if line["event"] == "renewal"] == ["info"]
        assert kinds(play) == ["renewed"]
