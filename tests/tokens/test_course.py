"""What becomes of a refresh token whose use was announced: a scripted store and endpoint, and a time that tests move.

`test_replicas.py` has the same over real sockets, where a second attempt hides what the first one did.
"""

from contextlib import contextmanager

import pytest

from proxy.definitions.templates.urls import compile_url
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.secret import Secret
from proxy.tokens.renewal import digest
from proxy.tokens.stored import SharedToken, Stored, StoreUnavailable
from tests.tokens.played import played
from tests.tokens.shared_grants import SharedGrants

REVOKED_AT = compile_url("https://auth.example.com/revoke")


@contextmanager
def brought(grants, **settings):
    """Play a process whose refresh token the operator wrote: only he brings another one."""
    with played(replica=grants.replica(), **{"grant_type": "refresh_token", "refresh_token": "r0", **settings}) as play:
        yield play


def stored(version, refresh_token, access_token=None, *, intent="", **shared):
    """Return what another replica has saved."""
    token = None
    if access_token is not None:
        token = SharedToken(Secret(access_token), **{"asked_at": 1_800_000_000.0, "lifetime": 3600.0, **shared})
    return Stored(version, Grant(Secret(refresh_token)), token, digest(Secret(intent)) if intent else "")


def with_a_refresh_token(play):
    play.first_token(refresh_token="r1")
    play.time.pass_time(5)


def code_of(task):
    """Return what a request or an operator was told."""
    return task.exception().problem.code


def serves(play, text):
    """Tell whether a request gets this token at once."""
    token = play.take()
    return token is not None and token.value.reveal() == text


# ------------------------------------------------------------------------------------------------- refused refreshing


@pytest.mark.parametrize("code", ["invalid_grant", "unauthorized_client", "unsupported_grant_type"])
def test_where_refreshing_will_not_work_again_the_connections_own_grant_is_run_in_the_same_renewal(code):
    with played() as play:
        with_a_refresh_token(play)
        operator = play.renew()
        play.refuse(code)
        play.answer("token-2")

        assert operator.exception() is None
        assert [asked.grant for asked in play.endpoint.asked][1:] == ["refresh_token", "client_credentials"]
        assert serves(play, "token-2")


def test_a_refresh_that_may_work_later_is_not_followed_by_the_connections_own_grant():
    with played() as play:
        with_a_refresh_token(play)
        operator = play.renew()
        play.refuse("invalid_request")

        assert operator.exception() is not None
        assert play.sent == [None, "r1"]
        assert play.keeper.events[0].text == "no token by refresh_token: invalid_request"


def test_a_connection_that_is_gone_runs_no_other_grant_when_its_refresh_is_refused():
    with played(revocation_url=REVOKED_AT) as play:
        with_a_refresh_token(play)
        operator = play.renew()
        retiring = play.time.start(play.keeper.retire(), "retiring")
        play.refuse("invalid_grant")

        assert retiring.done()
        assert "shutting down" in str(operator.exception())
        assert play.sent == [None, "r1"]


# ---------------------------------------------------------------------------------------------------- a lost answer


def test_after_two_lost_answers_the_token_is_sent_once_in_each_renewal_for_nobody_knows_what_became_of_it():
    with brought(SharedGrants()) as play:
        play.renew()
        play.lose()
        play.lose()
        assert play.sent == ["r0", "r0"]
        play.time.pass_time(0.1)
        play.renew()
        play.time.pass_time(2)
        play.lose()

        assert play.sent == ["r0", "r0", "r0"]
        assert play.endpoint.open == []


def test_a_refresh_token_that_was_replaced_while_its_answer_was_lost_is_not_sent_again():
    grants = SharedGrants()
    with brought(grants) as play:
        operator = play.renew()
        grants.put(stored(9, "r9"))
        play.lose()
        play.answer("a10", refresh_token="r10")

        assert operator.exception() is None
        assert play.sent == ["r0", "r9"]


def test_a_newer_access_token_is_adopted_after_a_lost_answer_also_where_the_refresh_token_is_the_same():
    grants = SharedGrants()
    with brought(grants) as play:
        operator = play.renew()
        grants.put(stored(9, "r0", "a9"))
        play.lose()

        assert operator.exception() is None
        assert serves(play, "a9")
        assert play.sent == ["r0"]


def test_where_another_replica_has_saved_nothing_but_what_it_is_about_to_do_a_lost_answer_is_asked_for_again():
    grants = SharedGrants()
    with brought(grants) as play:
        operator = play.renew()
        grants.put(stored(9, "r0", intent="r0"))
        play.lose()
        play.answer("a1", refresh_token="r1")

        assert operator.exception() is None
        assert play.sent == ["r0", "r0"]
        assert grants.refresh_token() == "r1"


@pytest.mark.parametrize(("on_failure", "sent"), [("hold", ["r0"]), ("refresh", ["r0", "r0"])])
def test_a_lost_answer_is_asked_for_again_without_the_store_only_where_the_operator_lets_it(on_failure, sent):
    grants = SharedGrants(on_failure)
    with brought(grants) as play:
        play.renew()
        grants.away = True
        play.lose()

        assert play.sent == sent


# ------------------------------------------------------------------------------------------------------ who is faster


def test_who_is_outrun_while_he_announces_adopts_what_the_other_one_has_and_asks_nobody():
    grants = SharedGrants()
    with brought(grants) as play:
        grants.faster = [stored(5, "r5", "a5")]
        operator = play.renew()

        assert operator.exception() is None
        assert serves(play, "a5")
        assert play.sent == []
        assert [event.kind for event in play.keeper.events] == ["adopted"]


def test_who_is_outrun_every_time_gives_up_and_tries_again_by_himself():
    grants = SharedGrants()
    with brought(grants) as play:
        grants.faster = [stored(5, "r5"), stored(6, "r6"), stored(7, "r7")]
        operator = play.renew()

        assert code_of(operator) == "token_unavailable"
        assert play.keeper.snapshot().last_error == "renewed_elsewhere"
        assert play.sent == []
        play.time.pass_time(2)
        assert play.sent == ["r7"]


def test_a_turn_that_does_not_come_is_waited_for_a_minute_and_no_longer():
    grants = SharedGrants()
    with brought(grants) as play:
        play.time.run(grants.turn_of().acquire())
        operator = play.renew()
        play.time.pass_time(59)
        assert not operator.done()
        play.time.pass_time(2)

        assert play.keeper.snapshot().last_error == "renewed_elsewhere"
        assert operator.done()


def test_what_is_in_the_store_is_adopted_without_waiting_for_the_turn():
    grants = SharedGrants()
    with brought(grants) as play:
        play.time.run(grants.turn_of().acquire())
        grants.put(stored(4, "r4", "a4"))
        operator = play.renew()

        assert operator.exception() is None
        assert serves(play, "a4")
        assert play.sent == []


def test_what_was_stored_while_the_turn_was_waited_for_is_adopted_when_it_comes():
    grants = SharedGrants()
    with brought(grants) as play:
        play.time.run(grants.turn_of().acquire())
        operator = play.renew()
        grants.put(stored(4, "r4", "a4"))
        grants.turn_of().release()
        play.time.settle()

        assert operator.exception() is None
        assert serves(play, "a4")
        assert play.sent == []


def test_a_token_without_a_grant_is_adopted_too():
    grants = SharedGrants()
    with played(replica=grants.replica()) as play:
        grants.put(Stored(4, None, SharedToken(Secret("a4"), play.time.wall(), 3600.0)))
        play.renew()

        assert serves(play, "a4")


def test_what_this_process_has_stored_itself_is_no_news():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        play.answer("a1", refresh_token="r1")
        play.time.call(play.keeper.heard)
        play.time.settle()

        assert [event.kind for event in play.keeper.events] == ["renewed"]


def test_who_renewed_without_the_store_goes_on_with_what_he_finds_when_it_is_back():
    grants = SharedGrants("refresh")
    with brought(grants) as play:
        grants.away = True
        operator = play.renew()
        grants.away = False
        grants.put(stored(5, "r5", "a5"))
        play.answer("a1", refresh_token="r1")

        assert operator.exception() is None
        assert serves(play, "a5")
        assert grants.refresh_token() == "r5"


def test_a_consent_without_a_refresh_token_is_not_given_up_while_the_store_is_away():
    grants = SharedGrants()
    with brought(grants, grant_type="authorization_code", refresh_token=None) as play:
        play.authorize()
        play.answer("a1")
        grants.away = True
        operator = play.renew()
        assert code_of(operator) == "store_unavailable"
        grants.away = False
        grants.put(stored(9, "r9"))
        play.time.pass_time(3)

        assert play.sent[1:] == ["r9"]


# ------------------------------------------------------------------------------------------------ what is in the store


def test_a_token_of_a_grant_that_is_worth_nothing_is_shared_alone():
    grants = SharedGrants()
    with played(replica=grants.replica()) as play:
        play.first_token("a1", scope="read")

        assert grants.kept().token.value.reveal() == "a1"
        assert grants.kept().grant is None


def test_a_renewal_that_changes_nothing_that_is_kept_writes_nothing():
    with played() as play:
        play.first_token()
        play.time.pass_time(5)
        play.renew()
        play.answer("token-2")

        assert play.time.run(play.store.load()) == Stored()


def test_what_is_adopted_comes_with_the_callback_of_its_grant_and_is_kept_alive():
    grants = SharedGrants()
    with brought(grants, keep_alive=300.0) as play:
        token = SharedToken(Secret("a4"), play.time.wall(), 3600.0)
        grants.put(Stored(4, Grant(Secret("r4"), callback={"realm": "7"}), token))
        play.renew()

        assert play.take().callback == {"realm": "7"}
        play.time.pass_time(299)
        assert play.sent == []
        play.time.pass_time(2)
        assert play.sent == ["r4"]


def test_the_callback_of_an_authorization_without_a_refresh_token_is_there_for_other_replicas():
    grants = SharedGrants()
    with played(replica=grants.replica(), grant_type="authorization_code") as play:
        play.authorize(callback={"realm": "7"})
        play.answer("token-1")

        assert grants.kept().grant.callback == {"realm": "7"}
        assert grants.kept().token.value.reveal() == "token-1"


# ------------------------------------------------------------------------------------------------- who only may wait


def test_a_refused_token_that_only_a_human_replaces_is_the_end_and_nothing_else_is_asked():
    with brought(SharedGrants()) as play:
        operator = play.renew()
        play.refuse("invalid_grant")

        assert code_of(operator) == "authorization_required"
        assert play.sent == ["r0"]
        assert play.keeper.events[0].text == "no token by refresh_token: invalid_grant"


def test_what_only_a_human_replaces_is_kept_while_the_server_may_take_it_later():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        play.refuse("unauthorized_client")

        assert grants.refresh_token() == "r0"


def test_a_refusal_is_remembered_where_nobody_can_tell_who_has_the_successor():
    grants = SharedGrants("refresh")
    with brought(grants) as play:
        operator = play.renew()
        grants.away = True
        play.refuse("invalid_grant")
        assert code_of(operator) == "store_unavailable"
        play.time.pass_time(20)
        assert play.sent == ["r0"]
        grants.away = False
        play.time.pass_time(100)

        assert play.sent == ["r0"]
        assert grants.kept().grant == NO_GRANT


def test_a_refresh_token_of_a_grant_that_needs_no_human_is_held_back_too_while_the_store_is_away():
    grants = SharedGrants()
    with played(replica=grants.replica()) as play:
        with_a_refresh_token(play)
        grants.away = True
        operator = play.renew()

        assert code_of(operator) == "store_unavailable"
        assert play.sent == [None]
        assert play.keeper.events[0].text == "no token by client_credentials: store_unavailable"


def test_a_store_of_this_process_alone_that_can_not_be_read_holds_up_no_renewal():
    with played() as play:
        play.store.fault = StoreUnavailable("no such device")

        assert play.first_token("token-1").value.reveal() == "token-1"


def test_an_answer_that_was_not_lost_leaves_no_doubt_about_the_token():
    with brought(SharedGrants()) as play:
        play.renew()
        play.refuse("temporarily_unavailable", 503)
        play.time.pass_time(0.5)
        operator = play.renew()
        play.time.pass_time(2)
        play.lose()
        play.answer("a1", refresh_token="r1")

        assert operator.exception() is None
        assert play.sent == ["r0", "r0", "r0"]
        assert play.keeper.events[0].text == "a new token by refresh_token"


def test_what_was_brought_is_kept_where_the_store_goes_before_anybody_can_tell_who_was_faster():
    grants = SharedGrants()
    with brought(grants) as play:
        play.renew()
        grants.put(stored(grants.kept().version + 1, "r0", intent="r0"))
        grants.leaves = True
        play.answer("a1", refresh_token="r1")
        grants.away = grants.leaves = False
        play.time.call(play.keeper.heard)
        play.time.settle()

        assert serves(play, "a1")
        assert grants.refresh_token() == "r1"


def test_what_is_brought_after_another_replica_gave_everything_back_is_given_back_too():
    grants = SharedGrants()
    with brought(grants, revocation_url=REVOKED_AT) as play:
        play.renew()
        grants.put(Stored(9, NO_GRANT, revoked=True))
        play.answer("a1", refresh_token="r1")

        assert [asked.form.get("token") for asked in play.endpoint.open] == ["r1"]
        assert grants.kept() == Stored(9, NO_GRANT, revoked=True)
        assert play.take() is None


def test_whoever_is_outrun_while_he_gives_a_refused_token_up_goes_on_with_what_the_other_one_has():
    grants = SharedGrants()
    with brought(grants) as play:
        operator = play.renew()
        grants.faster = [stored(9, "r9", "a9")]
        play.refuse("invalid_grant")

        assert operator.exception() is None
        assert serves(play, "a9")
        assert grants.refresh_token() == "r9"
