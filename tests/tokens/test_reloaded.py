"""A reload that changes a connection while its token is being renewed: no rotated refresh token is lost."""

import asyncio
import dataclasses
import os

import pytest

from proxy.definitions.settings import FileStore
from proxy.definitions.templates.urls import compile_url
from proxy.secret import Secret
from proxy.tokens.states import State
from proxy.tokens.store.file import GrantFolder
from tests.support.authorization_server import AuthorizationServer, error, respond, token, when
from tests.support.deadline import awaiting, eventually
from tests.tokens.kept import asking, connection_to, kept, token_of, waiting
from tests.tokens.shared_grants import SharedGrants
from tests.tokens.test_consent import code, interactive, refusal
from tests.tokens.test_replicas import brought, kinds, rotated, sent
from tests.tokens.test_stores import K1


@pytest.fixture(params=["memory", "file", "played"])
def grants(request, tmp_path):
    """Where grants are kept; memory is what the keepers have between them."""
    if request.param == "memory":
        yield None
    elif request.param == "played":
        yield SharedGrants().replica()
    else:
        folder = GrantFolder(FileStore(tmp_path, Secret(K1)), os.urandom)
        yield folder
        folder.close()


def changed(connection, **settings):
    """The connection as the operator writes it anew; whose grant it has does not change by default."""
    return dataclasses.replace(connection, **(settings or {"required": True}))


def shares_tokens(grants):
    return grants is not None and not isinstance(grants, GrantFolder)


async def leave(keeper):
    """Retire a keeper as a reload does."""
    async with awaiting("the end of the keeper"):
        await keeper.retire()


@pytest.mark.case("R-393", "T-99")
async def test_an_answer_that_comes_after_the_reload_is_stored_and_the_new_keeper_refreshes_with_it(grants):
    gate = asyncio.Event()
    async with AuthorizationServer() as server:
        connection = brought(server)
        server.script(when(gate, rotated(1)), rotated(2))
        async with kept(connection, grants=grants) as old:
            request = await asking(old, server)
            request.cancel()
            async with kept(changed(connection), grants=grants, before=old) as new:
                new.start()
                retiring = asyncio.create_task(leave(old), name="retiring")
                [request] = await waiting(new, 1)
                gate.set()
                await retiring
                async with awaiting("the token"):
                    found = (await request).value.reveal()

                # Where replicas share access tokens, this one serves at once.
                shares = shares_tokens(grants)
                assert (found, sent(server)) == (("a1", ["r0"]) if shares else ("a2", ["r0", "r1"]))
                await new.renew()
                assert sent(server)[-1] == ("r1" if shares else "r2")


@pytest.mark.case("R-393")
async def test_whoever_waited_before_the_reload_is_served_and_the_two_never_ask_at_once(grants):
    gate = asyncio.Event()
    async with AuthorizationServer() as server:
        connection = brought(server)
        server.script(when(gate, respond(503)), rotated(1), rotated(2))
        async with kept(connection, grants=grants) as old:
            before = await asking(old, server)
            async with kept(changed(connection), grants=grants, before=old) as new:
                new.start()
                retiring = asyncio.create_task(leave(old), name="retiring")
                [after] = await waiting(new, 1)
                gate.set()
                async with awaiting("the tokens"):
                    tokens = [(await request).value.reveal() for request in (before, after)]
                await retiring

                assert set(tokens) <= {"a1", "a2"}
                assert sent(server)[:2] == ["r0", "r0"]
                assert len(set(sent(server)[1:])) == len(sent(server)[1:])


@pytest.mark.case("R-393")
async def test_a_refused_answer_after_the_reload_loses_the_grant_for_the_new_keeper_too(grants):
    gate = asyncio.Event()
    async with AuthorizationServer() as server:
        connection = brought(server)
        server.script(when(gate, error("invalid_grant")))
        async with kept(connection, grants=grants) as old:
            request = await asking(old, server)
            request.cancel()
            async with kept(changed(connection), grants=grants, before=old) as new:
                new.start()
                retiring = asyncio.create_task(leave(old), name="retiring")
                [request] = await waiting(new, 1)
                gate.set()
                await retiring

                assert (await refusal(request)).problem.code == "authorization_required"
                assert server.T == 1


@pytest.mark.case("R-393")
async def test_an_answer_for_another_grant_than_the_new_one_is_given_back_where_nobody_keeps_that():
    gate = asyncio.Event()
    async with AuthorizationServer(default=respond(200)) as server:
        connection = brought(server)
        server.script(when(gate, rotated("late")), rotated(1))
        async with kept(connection) as old:
            request = await asking(old, server)
            request.cancel()
            async with kept(changed(connection, refresh_token=Secret("s0")), before=old) as new:
                new.start()
                retiring = asyncio.create_task(leave(old), name="retiring")
                assert await token_of(new) == "a1"
                gate.set()
                await retiring

                assert [asked.form["token"] for asked in server.asked if "token" in asked.form] == ["rlate", "alate"]


@pytest.mark.case("R-393")
@pytest.mark.parametrize("grants", ["file", "played"], indirect=True)
async def test_an_answer_for_a_connection_that_is_gone_is_stored_for_when_it_comes_back(grants):
    gate = asyncio.Event()
    async with AuthorizationServer(default=respond(200)) as server:
        connection = brought(server)
        server.script(when(gate, rotated(1)), rotated(2))
        async with kept(connection, grants=grants) as old:
            request = await asking(old, server)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            retiring = asyncio.create_task(leave(old), name="retiring")
            await asyncio.sleep(0)
            async with kept(connection, grants=grants) as back:
                [request] = await waiting(back, 1)
                gate.set()
                await retiring
                async with awaiting("the token"):
                    assert (await request).value.reveal() == ("a1" if shares_tokens(grants) else "a2")

        assert sent(server) == (["r0"] if shares_tokens(grants) else ["r0", "r1"])


@pytest.mark.case("R-393")
@pytest.mark.parametrize("grants", ["file", "played"], indirect=True)
async def test_an_access_token_that_came_for_a_connection_that_is_gone_is_given_back(grants):
    gate = asyncio.Event()
    async with AuthorizationServer(default=respond(200)) as server:
        server.script(when(gate, token("late")))
        async with kept(connection_to(server, revocation_url=compile_url(server.url)), grants=grants) as old:
            request = await asking(old, server)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            retiring = asyncio.create_task(leave(old), name="retiring")
            await asyncio.sleep(0)
            gate.set()
            await retiring

        assert [asked.form["token"] for asked in server.asked[1:]] == ["late"]


@pytest.mark.case("R-393")
@pytest.mark.parametrize("grants", ["memory"], indirect=True)
async def test_an_answer_for_a_connection_that_is_gone_is_given_back(grants):
    gate = asyncio.Event()
    async with AuthorizationServer(default=respond(200)) as server:
        server.script(when(gate, rotated("late")))
        async with kept(brought(server), grants=grants) as old:
            request = await asking(old, server)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            retiring = asyncio.create_task(leave(old), name="retiring")
            await asyncio.sleep(0)
            gate.set()
            await retiring

            assert [asked.form["token"] for asked in server.asked[1:]] == ["rlate", "alate"]


async def test_what_somebody_authorized_in_the_moment_of_a_reload_is_the_new_keepers(grants):
    gate = asyncio.Event()
    async with AuthorizationServer() as server:
        connection = interactive(server)
        server.script(when(gate, rotated(1)), rotated(2))
        async with kept(connection, grants=grants) as old:
            browser = asyncio.create_task(old.consent.redeem(code(), {}), name="browser")
            await server.was_asked(1)
            async with kept(changed(connection), grants=grants, before=old) as new:
                new.start()
                retiring = asyncio.create_task(leave(old), name="retiring")
                assert new.snapshot().state in {State.AUTHORIZATION_REQUIRED, State.NONE}
                gate.set()
                await asyncio.gather(browser, retiring)
                waits = State.AUTHORIZATION_REQUIRED
                await eventually("the grant", lambda: new.snapshot().state is not waits)

                assert await token_of(new) in {"a1", "a2"}
                assert "dropped" not in kinds(old)


async def test_a_connection_in_memory_keeps_its_grant_when_it_is_changed():
    async with AuthorizationServer() as server:
        connection = brought(server)
        server.script(rotated(1), rotated(2))
        async with kept(connection) as old:
            await token_of(old)
            async with kept(changed(connection), before=old) as new:
                new.start()
                await leave(old)
                assert await token_of(new) == "a2"

                assert sent(server) == ["r0", "r1"]


async def test_a_reload_that_was_rejected_leaves_the_keeper_as_it_was():
    gate = asyncio.Event()
    async with AuthorizationServer(default=respond(200)) as server:
        connection = brought(server)
        server.script(when(gate, token("late", refresh_token="late")))
        async with kept(connection) as keeper:
            async with kept(changed(connection), before=keeper):
                pass  # made for nothing, never started
            request = await asking(keeper, server)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            retiring = asyncio.create_task(leave(keeper), name="retiring")
            await asyncio.sleep(0)
            gate.set()
            await retiring

            assert [asked.form["token"] for asked in server.asked[1:]] == ["late", "late"]
