"""Replicas that share a grant: one renewal for all, and whatever goes wrong in between, no rotated token is lost."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from proxy.oauth.grant import NO_GRANT, Grant
from proxy.problem import Origin
from proxy.secret import Secret
from proxy.tokens import ledger
from proxy.tokens.renewal import digest
from proxy.tokens.states import State
from proxy.tokens.stored import SharedToken, Stored
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, token, when
from tests.support.deadline import awaiting, eventually
from tests.tokens.kept import PushedClock, asking, connection_to, kept, token_of, waiting
from tests.tokens.shared_grants import SharedGrants
from tests.tokens.test_consent import code, interactive, refusal

LOST = raw(End.RESET)


@asynccontextmanager
async def replicas(number, connection, grants, **settings):
    """So many processes with that connection; each hears what the others save."""
    async with AsyncExitStack() as stack:
        keepers = []
        for _ in range(number):
            replica = grants.replica()
            keeper = await stack.enter_async_context(kept(connection, grants=replica, **settings))
            replica.heard = lambda _, keeper=keeper: keeper.heard()
            keepers.append(keeper)
        yield keepers


def brought(server, seed="r0", **client):
    """A connection whose refresh token the operator wrote; nobody can replace it but a human."""
    return interactive(server, grant="refresh_token", seed=Secret(seed), **client)


def rotated(number, **fields):
    return token(f"a{number}", refresh_token=f"r{number}", **fields)


def sent(server):
    return [asked.form.get("refresh_token") for asked in server.asked]


def kinds(keeper):
    return [event.kind for event in keeper.events]


def stored(version, refresh_token, access_token=None, *, asked_at=0.0, lifetime=3600.0, intent=""):
    shared = None if access_token is None else SharedToken(Secret(access_token), asked_at, lifetime)
    grant = Grant(Secret(refresh_token)) if refresh_token is not None else None
    return Stored(version, grant, shared, digest(Secret(intent)) if intent else "")


async def serves(keeper, text):
    await eventually(f"the token {text}", lambda: (held := keeper.take()) is not None and held.value.reveal() == text)


# -------------------------------------------------------------------------------------------------------- one for all


@pytest.mark.case("R-376")
async def test_three_cold_replicas_make_one_request_and_serve_one_token():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(3, brought(server), grants) as keepers:
        server.script(rotated(1))
        found = [await waiting(keeper, 10) for keeper in keepers]
        async with awaiting("the tokens"):
            tokens = await asyncio.gather(*(request for requests in found for request in requests))

        assert {each.value.reveal() for each in tokens} == {"a1"}
        assert server.T == 1
        await server.is_quiet()
        assert server.T == 1


@pytest.mark.case("R-376")
async def test_replicas_whose_tokens_are_refused_together_make_one_request():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(3, brought(server), grants) as keepers:
        server.script(rotated(1), rotated(2))
        for keeper in keepers:
            assert await token_of(keeper) == "a1"
        for keeper in keepers:
            keeper.refused(keeper.take())

        for keeper in keepers:
            assert await token_of(keeper) == "a2"
        await server.is_quiet()
        assert sent(server) == ["r0", "r1"]


@pytest.mark.case("R-376")
async def test_what_one_replica_renews_the_others_adopt_without_a_request():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(3, brought(server), grants) as keepers:
        server.script(rotated(1), rotated(2))
        for keeper in keepers:
            await token_of(keeper)
        with capture_logs() as lines:
            await keepers[0].renew()
            for keeper in keepers:
                await serves(keeper, "a2")

        assert server.T == 2
        assert [line["outcome"] for line in lines if line["event"] == "renewal"].count("adopted") == 2
        assert kinds(keepers[1])[0] == "adopted"
        assert sum(keepers[1].counters.requests.values()) == 0


async def test_who_heard_nothing_finds_the_newer_token_when_an_upstream_refuses_his():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(2, brought(server), grants) as (first, second):
        server.script(rotated(1), rotated(2))
        assert await token_of(first) == await token_of(second) == "a1"
        grants.deaf = True
        await first.renew()
        second.refused(second.take())

        assert await token_of(second) == "a2"
        assert server.T == 2


async def test_an_adopted_token_that_is_refused_is_renewed_and_not_disputed():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(2, brought(server), grants) as (first, second):
        server.script(rotated(1), rotated(2), rotated(3))
        await token_of(first)
        await token_of(second)
        grants.deaf = True
        await first.renew()
        second.refused(second.take())
        await token_of(second)
        second.refused(second.take(), replayed=True)

        assert await token_of(second) == "a3"
        assert server.T == 3


async def test_a_replica_that_begins_serves_what_is_left_of_the_shared_token():
    grants, clock = SharedGrants(), PushedClock()
    async with AuthorizationServer() as server:
        connection = brought(server)
        asked_at = clock.wall() - 1000
        grants.put(stored(4, "r4", "a4", asked_at=asked_at))
        async with replicas(1, connection, grants, clock=clock) as [keeper]:
            assert await token_of(keeper) == "a4"
            assert keeper.snapshot().expires_at == pytest.approx(asked_at + 3600, abs=0.1)
            clock.push(2595)
            assert keeper.take() is None
            assert server.T == 0


async def test_a_clock_that_is_behind_does_not_make_a_shared_token_live_longer():
    grants, clock = SharedGrants(), PushedClock()
    async with AuthorizationServer() as server:
        grants.put(stored(4, "r4", "a4", asked_at=clock.wall() + 7200))
        async with replicas(1, brought(server), grants, clock=clock) as [keeper]:
            await token_of(keeper)
            clock.push(3600)

            assert keeper.take() is None


async def test_a_shared_token_that_has_expired_is_no_token():
    grants, clock = SharedGrants(), PushedClock()
    async with AuthorizationServer() as server:
        server.script(rotated(5))
        grants.put(stored(4, "r4", "a4", asked_at=clock.wall() - 3600))
        async with replicas(1, brought(server), grants, clock=clock) as [keeper]:
            assert await token_of(keeper) == "a5"
            assert sent(server) == ["r4"]


async def test_replicas_share_tokens_of_grants_that_have_no_refresh_token():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(3, connection_to(server), grants) as keepers:
        assert {await token_of(keeper) for keeper in keepers} == {"token-1"}
        assert server.T == 1


# --------------------------------------------------------------------------------------------- before and after its use


@pytest.mark.case("R-375")
async def test_the_use_of_a_refresh_token_is_announced_before_its_bytes_leave_and_done_with_its_answer():
    grants, gate = SharedGrants(), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(when(gate, rotated(1)))
        request = await asking(keeper, server)
        during = grants.kept()
        gate.set()
        await request

        assert (during.intent, grants.refresh_token()) == (digest(Secret("r0")), "r1")
        assert grants.kept().intent == ""
        assert grants.kept().token.value.reveal() == "a1"


@pytest.mark.case("R-375", "R-371")
async def test_whoever_begins_with_an_announced_use_makes_exactly_one_attempt_with_the_old_token():
    grants = SharedGrants()
    async with AuthorizationServer() as server:
        grants.put(stored(3, "r1", intent="r1"))
        async with replicas(1, brought(server), grants) as [keeper]:
            server.script(error("invalid_grant"))
            assert (await refusal(keeper.renew())).problem.code == "authorization_required"
            assert (await refusal(keeper.renew())).problem.code == "authorization_required"

            assert sent(server) == ["r1"]
            assert grants.kept().grant == NO_GRANT


@pytest.mark.case("R-375", "R-371")
async def test_that_attempt_is_not_repeated_at_once_where_its_answer_is_lost():
    grants = SharedGrants()
    async with AuthorizationServer() as server:
        grants.put(stored(3, "r1", intent="r1"))
        async with replicas(1, brought(server), grants) as [keeper]:
            server.script(LOST)
            await refusal(keeper.renew())
            assert server.T == 1
            assert keeper.snapshot().state is State.BACKOFF
            assert grants.refresh_token() == "r1"


@pytest.mark.case("R-371", "T-56")
async def test_a_lost_answer_is_asked_for_once_more_at_once_with_the_same_token():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(LOST, rotated(1))
        assert await token_of(keeper) == "a1"

        assert sent(server) == ["r0", "r0"]
        assert grants.refresh_token() == "r1"


@pytest.mark.case("R-371")
async def test_after_a_lost_answer_the_token_that_another_replica_stored_is_adopted_instead():
    grants, gate = SharedGrants(), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(when(gate, LOST))
        request = await asking(keeper, server)
        grants.put(stored(9, "r9", "a9", asked_at=PushedClock().wall()))
        gate.set()

        assert (await request).value.reveal() == "a9"
        assert server.T == 1
        assert grants.refresh_token() == "r9"


@pytest.mark.case("T-60", "R-371")
async def test_a_grant_that_needs_no_human_is_run_again_when_its_refresh_token_is_lost():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, connection_to(server), grants) as [keeper]:
        server.script(rotated(1), LOST, error("invalid_grant"), rotated(2))
        await token_of(keeper)
        await keeper.renew()

        assert await token_of(keeper) == "a2"
        assert sent(server) == [None, "r1", "r1", None]


# ------------------------------------------------------------------------------------------------------------- fencing


@pytest.mark.case("R-377")
async def test_who_lost_his_turn_adopts_what_the_other_one_got_and_the_store_keeps_it():
    grants, gate = SharedGrants(), asyncio.Event()
    grants.deaf = True
    async with AuthorizationServer() as server, replicas(2, brought(server), grants) as (paused, other):
        server.script(when(gate, rotated("late")), rotated(1))
        request = await asking(paused, server)
        grants.take_the_turn_away()
        assert await token_of(other) == "a1"
        gate.set()

        assert (await request).value.reveal() == "a1"
        assert grants.refresh_token() == "r1"
        await server.is_quiet()
        assert server.T == 2  # nothing of the winner's is given back


@pytest.mark.case("R-377")
async def test_who_lost_his_turn_saves_his_pair_where_the_other_one_got_none():
    grants, gate = SharedGrants(), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [paused]:
        server.script(when(gate, rotated(1)))
        request = await asking(paused, server)
        grants.put(stored(grants.kept().version + 1, "r0", intent="r0"))
        gate.set()

        assert (await request).value.reveal() == "a1"
        assert grants.refresh_token() == "r1"


@pytest.mark.case("R-377", "R-384")
async def test_who_lost_his_turn_keeps_his_pair_where_the_store_goes_before_he_can_tell_what_the_other_one_got():
    grants, gate = SharedGrants(), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [paused]:
        server.script(when(gate, rotated(1)), rotated(2))
        request = await asking(paused, server)
        grants.put(stored(grants.kept().version + 1, "r0", intent="r0"))
        grants.leaves = True
        gate.set()

        assert (await request).value.reveal() == "a1"
        grants.away = grants.leaves = False
        await paused.renew()
        assert sent(server) == ["r0", "r1"]
        assert grants.refresh_token() == "r2"


@pytest.mark.case("R-378")
async def test_the_loser_of_a_race_adopts_what_the_winner_stored():
    grants, gate = SharedGrants(), asyncio.Event()
    grants.deaf = True
    async with AuthorizationServer() as server, replicas(2, brought(server), grants) as (loser, winner):
        server.script(when(gate, error("invalid_grant")), rotated(1))
        request = await asking(loser, server)
        grants.take_the_turn_away()
        await token_of(winner)
        gate.set()

        assert (await request).value.reveal() == "a1"
        assert server.T == 2
        assert grants.refresh_token() == "r1"


@pytest.mark.case("R-378", "T-60")
async def test_a_refusal_for_which_nobody_has_a_successor_loses_the_grant_for_all():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(2, brought(server), grants) as keepers:
        server.script(error("invalid_grant"))
        for keeper in keepers:
            assert (await refusal(keeper.wait())).problem.code == "authorization_required"

        assert server.T == 1


# ------------------------------------------------------------------------------------------------- the store is away


@pytest.mark.case("R-382")
async def test_a_rotating_grant_waits_for_its_store_and_its_token_serves_until_it_expires():
    grants, clock = SharedGrants(), PushedClock()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants, clock=clock) as [keeper]:
        server.script(rotated(1), rotated(2))
        await token_of(keeper)
        grants.away = True
        clock.push(2400)
        assert keeper.take().value.reveal() == "a1"
        await eventually("the attempt", lambda: keeper.snapshot().last_error == "store_unavailable")
        assert keeper.take().value.reveal() == "a1"
        clock.push(1200)
        requests = await waiting(keeper, 1)
        clock.push(20)
        refused = await refusal(requests[0])

        assert (refused.problem.code, refused.problem.status) == ("store_unavailable", 503)
        assert refused.problem.origin is Origin.PROXY
        assert refused.retry_after is not None
        assert server.T == 1
        grants.away = False
        keeper.heard()
        assert await token_of(keeper) == "a2"


@pytest.mark.case("R-382", "R-384")
async def test_refreshing_without_the_store_is_written_back_when_it_returns():
    grants = SharedGrants(on_failure="refresh")
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(rotated(1), rotated(2))
        await token_of(keeper)
        grants.away = True
        await keeper.renew()
        assert (await token_of(keeper), grants.refresh_token()) == ("a2", "r1")
        grants.away = False
        keeper.heard()
        await eventually("the newer pair", lambda: grants.refresh_token() == "r2")

        assert grants.kept().token.value.reveal() == "a2"


async def test_a_grant_without_a_refresh_token_is_renewed_without_the_store():
    grants = SharedGrants()
    grants.away = True
    async with AuthorizationServer() as server, replicas(1, connection_to(server), grants) as [keeper]:
        assert await token_of(keeper) == "token-1"
        grants.away = False
        keeper.heard()
        await eventually("the token in the store", lambda: grants.kept().token is not None)


@pytest.mark.case("R-384")
async def test_a_store_that_went_back_in_time_gets_the_newer_pair_again():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(rotated(1), rotated(2), rotated(3))
        await token_of(keeper)
        before = grants.kept()
        await keeper.renew()
        grants.put(before)
        await keeper.renew()

        assert sent(server) == ["r0", "r1", "r2"]
        assert grants.refresh_token() == "r3"


@pytest.mark.case("R-378")
async def test_a_refusal_is_not_believed_while_nobody_can_tell_who_has_the_successor():
    grants, gate = SharedGrants(), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(when(gate, error("invalid_grant")))
        operator = asyncio.create_task(keeper.renew(), name="operator")
        await server.was_asked(1)
        grants.away = True
        gate.set()
        assert (await refusal(operator)).problem.code == "store_unavailable"
        grants.put(stored(9, "r9", "a9", asked_at=PushedClock().wall()))
        grants.away = False

        assert await token_of(keeper) == "a9"
        assert server.T == 1


@pytest.mark.case("R-378", "T-60")
async def test_a_token_that_was_refused_meanwhile_is_not_sent_again():
    grants, gate = SharedGrants(on_failure="refresh"), asyncio.Event()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(when(gate, error("invalid_grant")))
        operator = asyncio.create_task(keeper.renew(), name="operator")
        await server.was_asked(1)
        grants.away = True
        gate.set()
        await refusal(operator)
        assert (await refusal(keeper.renew())).problem.code == "store_unavailable"
        grants.away = False
        assert (await refusal(keeper.renew())).problem.code == "authorization_required"

        assert server.T == 1
        assert grants.kept().grant == NO_GRANT


@pytest.mark.case("R-383")
async def test_a_store_that_hangs_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(ledger, "_OPERATION", 0.02)
    monkeypatch.setattr(ledger, "_TURN", 0.02)
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, brought(server), grants) as [keeper]:
        server.script(rotated(1))
        await token_of(keeper)
        grants.hanging = True
        keeper.heard()
        renewing = asyncio.create_task(keeper.renew(), name="operator")
        assert keeper.take().value.reveal() == "a1"

        assert (await refusal(renewing)).problem.code == "store_unavailable"
        assert keeper.take().value.reveal() == "a1"
        assert server.T == 1


# ------------------------------------------------------------------------------------------------------------- humans


async def test_what_somebody_authorized_on_one_replica_serves_on_all():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(2, interactive(server), grants) as (first, second):
        server.script(rotated(1))
        assert (await refusal(second.wait())).problem.code == "authorization_required"
        await first.consent.redeem(code(), {})

        await serves(second, "a1")
        assert server.T == 1


async def test_a_grant_whose_token_has_expired_ends_the_wait_for_a_human_too():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, interactive(server), grants) as [keeper]:
        server.script(rotated(2))
        await refusal(keeper.wait())
        grants.put(stored(7, "r1", "a1", asked_at=0.0))
        keeper.heard()
        await eventually("the grant", lambda: keeper.snapshot().state is State.NONE)

        assert await token_of(keeper) == "a2"
        assert sent(server) == ["r1"]


async def test_what_somebody_authorized_while_the_store_was_away_wins_over_what_was_saved_meanwhile():
    grants = SharedGrants()
    async with AuthorizationServer() as server, replicas(1, interactive(server), grants) as [keeper]:
        server.script(rotated(1), rotated(2))
        grants.away = True
        await keeper.consent.redeem(code(), {})
        assert await token_of(keeper) == "a1"
        grants.put(stored(9, "old", "old", asked_at=PushedClock().wall()))
        grants.away = False
        await keeper.renew()

        assert sent(server) == [None, "r1"]
        assert (grants.refresh_token(), grants.kept().version > 9) == ("r2", True)


async def test_what_one_replica_gave_back_no_other_one_sends_any_more():
    grants = SharedGrants()
    async with (
        AuthorizationServer(default=respond(200)) as server,
        replicas(2, brought(server), grants) as (first, second),
    ):
        server.script(rotated(1))
        await token_of(first)
        await token_of(second)
        assert await first.revoke() == ("refresh_token: revoked", "access_token: revoked")

        await eventually("the end of the token", lambda: second.take() is None)
        assert (await refusal(second.wait())).problem.code == "authorization_required"
        assert server.T == 3


@pytest.mark.case("T-99")
async def test_a_late_answer_does_not_undo_what_another_replica_gave_back():
    grants, gate = SharedGrants(), asyncio.Event()
    grants.deaf = True
    server = AuthorizationServer(default=respond(200))
    async with server, replicas(2, brought(server), grants) as (first, second):
        server.script(when(gate, rotated("late")), respond(200))
        await waiting(first, 1)
        await server.was_asked(1)
        await second.revoke()
        gate.set()
        await eventually("the end of the late tokens", lambda: "dropped" in kinds(first))

        assert [asked.form.get("token") for asked in server.asked[1:]] == ["r0", "rlate", "alate"]
        assert grants.kept().grant == NO_GRANT
