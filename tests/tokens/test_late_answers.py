"""Answers that come after the grant they belong to was replaced or given back: never used, never stored, given back."""

import asyncio

import pytest

from proxy.secret import Secret
from proxy.tokens.states import State
from proxy.tokens.store.memory import MemoryStore
from proxy.tokens.stored import StoreUnavailable
from tests.support.authorization_server import AuthorizationServer, error, respond, token, when
from tests.support.deadline import awaiting, eventually
from tests.tokens.kept import asking, connection_to, kept, token_of, waiting
from tests.tokens.test_consent import code, device, interactive, refusal


def kinds(keeper):
    return [event.kind for event in keeper.events]


@pytest.mark.case("A-344", "T-99")
async def test_a_refresh_that_ends_after_somebody_authorized_does_not_take_the_new_grants_place():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token("old", refresh_token="old")), token("new", refresh_token="new"))
        request = await asking(keeper, server)
        await keeper.consent.redeem(code(), {})
        assert (await request).value.reveal() == "new"
        server.script(respond(200), respond(200), token("renewed"))
        gate.set()
        await eventually("the end of the old tokens", lambda: "dropped" in kinds(keeper))
        await keeper.renew()

        assert [asked.form["token"] for asked in server.asked[2:4]] == ["old", "old"]
        assert server.asked[4].form["refresh_token"] == "new"
        assert keeper.take().value.reveal() == "renewed"


@pytest.mark.case("T-60")
async def test_a_refresh_that_is_refused_after_somebody_authorized_does_not_cost_the_new_grant():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, error("invalid_grant")), token("new", refresh_token="new"), token("renewed"))
        await waiting(keeper, 1)
        await server.was_asked(1)
        await keeper.consent.redeem(code(), {})
        gate.set()
        await server.is_quiet()
        assert keeper.snapshot().state is State.VALID
        await keeper.renew()

        assert server.asked[2].form["refresh_token"] == "new"


async def test_a_new_grant_without_a_refresh_token_does_not_go_on_with_the_one_of_before():
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(token(refresh_token="r1"), token("new"))
        await token_of(keeper)
        await keeper.consent.redeem(code(), {})
        assert await token_of(keeper) == "new"

        assert (await refusal(keeper.renew())).problem.code == "authorization_required"
        assert server.T == 2


@pytest.mark.case("T-99")
async def test_a_code_that_is_redeemed_after_a_revocation_is_given_back():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        server.script(when(gate, token("late", refresh_token="late")))
        browser = asyncio.create_task(keeper.consent.redeem(code(), {}), name="browser")
        await server.was_asked(1)
        assert await keeper.revoke() == ()
        gate.set()

        assert (await refusal(browser)).problem.code == "authorization_failed"
        await eventually("the end of the late tokens", lambda: "dropped" in kinds(keeper))
        assert [asked.form["token"] for asked in server.asked[1:]] == ["late", "late"]
        assert keeper.take() is None


async def test_an_operator_who_waits_for_a_renewal_is_answered_when_another_revokes():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, error("invalid_grant")))
        operator = asyncio.create_task(keeper.renew(), name="operator")
        await server.was_asked(1)
        await keeper.revoke()

        assert (await refusal(operator)).problem.code == "authorization_required"
        gate.set()


@pytest.mark.case("T-99")
async def test_a_token_that_comes_after_a_reload_is_given_back():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token("late", refresh_token="late")))
        request = await asking(keeper, server)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        retiring = asyncio.create_task(keeper.retire(), name="retiring")
        gate.set()
        async with awaiting("the end of the keeper"):
            await retiring

        assert [asked.form["token"] for asked in server.asked[1:]] == ["late", "late"]


async def test_whoever_waits_when_a_reload_comes_gets_the_token_and_keeps_it():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token()))
        request = await asking(keeper, server)
        retiring = asyncio.create_task(keeper.retire(), name="retiring")
        gate.set()

        assert (await request).value.reveal() == "token-1"
        async with awaiting("the end of the keeper"):
            await retiring
        assert server.T == 1


async def test_a_proxy_that_ends_gives_back_what_is_still_on_its_way():
    gate = asyncio.Event()
    server = AuthorizationServer(default=respond(200))
    async with server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token("late", refresh_token="late")))
        await waiting(keeper, 1)
        await server.was_asked(1)
        leaving = asyncio.create_task(keeper.farewell(), name="leaving")
        await server.was_asked(2)
        gate.set()
        async with awaiting("the end of the tokens"):
            await leaving

        assert [asked.form["token"] for asked in server.asked[1:]] == ["seed", "late", "late"]


async def test_what_is_closed_leaves_no_task_behind():
    gate = asyncio.Event()
    before = asyncio.all_tasks()
    server = AuthorizationServer(default=respond(200))
    async with server, kept(connection_to(server)) as keeper:
        server.script(when(gate, token()))
        requests = await waiting(keeper, 1)
        await server.was_asked(1)
        await keeper.revoke()  # the request goes on waiting: another renewal stands in line behind the first one
        await keeper.close()
        await asyncio.gather(*requests, return_exceptions=True)

        left = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not {name for name in left if name.partition(":")[0] in {"renewal", "late", "device"}}


async def test_a_second_device_takes_the_place_of_the_first_and_requests_go_on_waiting():
    server = AuthorizationServer(default=error("authorization_pending"))
    async with server, kept(interactive(server, grant="device_code")) as keeper:
        server.script(device(), device(device_code="canary-second", interval=0.05))
        await keeper.consent.device()
        await keeper.consent.device()
        [request] = await waiting(keeper, 1)
        await server.was_asked(3)
        server.default = token(refresh_token="r1")
        async with awaiting("the token"):
            await request

        assert server.asked[-1].form["device_code"] == "canary-second"


@pytest.mark.case("D-184")
async def test_a_connection_that_waits_for_a_human_says_so_before_anything_happened():
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        found = keeper.snapshot()

        assert (found.state, found.tried) == (State.AUTHORIZATION_REQUIRED, True)
        assert found.next_action.value == "authorize"
        keeper.start()
        assert (await refusal(keeper.renew())).problem.code == "authorization_required"
        assert server.T == 0


@pytest.mark.case("T-60")
async def test_what_only_a_human_can_replace_is_given_up_for_nothing_but_invalid_grant():
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(error("unauthorized_client"), token())
        assert (await refusal(keeper.renew())).problem.code == "client_rejected"
        await keeper.renew()

        assert [asked.form["refresh_token"] for asked in server.asked] == ["seed", "seed"]
        assert keeper.take().value.reveal() == "token-2"


async def _is_away(_store, _stored):
    raise StoreUnavailable("no space left")


@pytest.mark.case("T-99")
async def test_a_revocation_that_the_store_does_not_survive_does_not_hold_up_the_connection(monkeypatch):
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(when(gate, token("late")), token("afterwards"))
        request = await asking(keeper, server)
        monkeypatch.setattr(MemoryStore, "save", _is_away)
        await keeper.revoke()
        gate.set()

        await asyncio.wait([request])
        assert await token_of(keeper) == "afterwards"


@pytest.mark.case("A-344")
async def test_an_authorization_that_the_store_does_not_take_yet_serves(monkeypatch):
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token("late")), token("new", refresh_token="new"))
        request = await asking(keeper, server)
        monkeypatch.setattr(MemoryStore, "save", _is_away)
        await keeper.consent.redeem(code(), {})
        gate.set()

        assert (await request).value.reveal() == await token_of(keeper) == "new"


async def test_a_device_flow_that_began_before_its_connection_went_is_not_waited_for():
    gate = asyncio.Event()
    async with AuthorizationServer() as server, kept(interactive(server, grant="device_code")) as keeper:
        server.script(when(gate, device(interval=0.01)))
        asking = asyncio.create_task(keeper.consent.device(), name="device")
        await server.was_asked(1)
        await keeper.close()
        gate.set()

        assert (await refusal(asking)).problem.code == "token_unavailable"
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("device:")]
        assert (await refusal(keeper.consent.redeem(code(), {}))).problem.code == "token_unavailable"
