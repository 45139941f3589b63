"""A browser sets out and comes back: what its callback may be, and which connection it belongs to."""

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from proxy.admin.ports import AuthorizationError
from proxy.definitions.templates.placeholders import compile_template
from proxy.errors import Refusal
from proxy.outbound.resolve import Resolver
from proxy.runtime.authorizations import BrowserAuthorizations
from proxy.runtime.keepers import keeper_for
from proxy.secret import Secret
from proxy.tokens.keeper import Keeper
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, say, token
from tests.support.deadline import awaiting
from tests.tokens.kept import LIMITS, PushedClock
from tests.tokens.test_consent import interactive

BASE = "http://127.0.0.1:7489"


@dataclass
class Part:
    connection: object
    keeper: Keeper | None


@dataclass
class Scene:
    parts: dict
    authorizations: BrowserAuthorizations
    base: str | None = BASE

    def add(self, connection):
        keeper = keeper_for(
            connection, LIMITS, clock=PushedClock(), random=random.Random(3), resolver=Resolver(),
            admin_base=lambda: self.base,
        )  # fmt: skip
        self.parts[connection.name] = Part(connection, keeper)
        return keeper

    async def begun(self, name="crm"):
        """Begin; return the query of a good callback but for its code, and the session."""
        started = await self.authorizations.start(name)
        asked = {key: value for key, [value] in parse_qs(urlsplit(started.url).query).items()}
        return SimpleNamespace(asked=asked, state=asked["state"], session=started.session.reveal())

    async def finish(self, flow, *, path="acme", session=None, **query):
        fields = {"code": "canary-code", "state": flow.state, **query}
        sessions = (flow.session,) if session is None else session
        written = urlencode({key: value for key, value in fields.items() if value is not None})
        return await self.authorizations.finish(path, written, sessions)

    async def refused(self, flow, **how):
        with pytest.raises(AuthorizationError) as raised:
            await self.finish(flow, **how)
        return raised.value.code, raised.value.status


@asynccontextmanager
async def playing(*connections):
    parts = {}
    scene = Scene(parts, BrowserAuthorizations(lambda: parts, random.Random(7).randbytes, time.monotonic))
    for connection in connections:
        scene.add(connection)
    try:
        yield scene
    finally:
        for part in parts.values():
            await part.keeper.close()


async def test_a_code_comes_back_to_the_connection_that_set_out_with_a_proof():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        server.script(token(refresh_token="r1"))
        flow = await scene.begun()
        finished = await scene.finish(flow, realmId="9")

        assert finished.connection == "crm"
        assert flow.asked["redirect_uri"] == f"{BASE}/oauth/callback/acme"
        assert (flow.asked["code_challenge_method"], flow.asked["response_type"]) == ("S256", "code")
        assert "code_verifier" in server.asked[0].form
        assert scene.parts["crm"].keeper.take().callback == {"realmId": "9"}


@pytest.mark.case("A-331")
@pytest.mark.parametrize("state", [None, "", "f" * 64])
async def test_a_callback_without_the_state_asks_nothing(state):
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        assert await scene.refused(await scene.begun(), state=state) == ("invalid_state", 400)
        assert server.T == 0


@pytest.mark.case("A-331")
async def test_a_state_is_good_once():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()
        await scene.finish(flow)

        assert await scene.refused(flow) == ("invalid_state", 400)
        assert server.T == 1


@pytest.mark.case("A-332")
@pytest.mark.parametrize("session", [(), ("another",)])
async def test_a_callback_in_another_browser_asks_nothing(session):
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()

        assert await scene.refused(flow, session=session) == ("session_mismatch", 400)
        assert await scene.refused(flow) == ("invalid_state", 400)
        assert server.T == 0


@pytest.mark.case("A-335")
async def test_a_callback_of_another_iclient_asks_nothing():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        assert await scene.refused(await scene.begun(), path="other") == ("invalid_state", 400)
        assert server.T == 0


@pytest.mark.case("A-335")
async def test_a_code_is_not_sent_to_the_server_of_an_iclient_that_a_reload_brought():
    async with (
        AuthorizationServer() as server,
        AuthorizationServer() as other,
        playing(interactive(server)) as scene,
    ):
        flow = await scene.begun()
        await scene.parts["crm"].keeper.close()
        scene.add(interactive(other))

        assert await scene.refused(flow) == ("invalid_state", 400)
        assert (server.T, other.T) == (0, 0)


async def test_a_code_comes_back_after_a_reload_that_left_the_iclient_alone():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()
        await scene.parts["crm"].keeper.close()
        keeper = scene.add(replace(interactive(server), rewrite_location=False))
        await scene.finish(flow)

        assert keeper.take().value.reveal() == "token-1"


@pytest.mark.case("A-343")
@pytest.mark.parametrize("answer", [raw(End.RESET), respond(503), error("invalid_grant")])
async def test_a_server_that_is_down_ends_the_flow_with_one_request(answer):
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        server.script(answer)
        flow = await scene.begun()

        assert await scene.refused(flow) == ("exchange_failed", 502)
        assert await scene.refused(flow) == ("invalid_state", 400)
        assert server.T == 1


@pytest.mark.case("A-344")
async def test_two_flows_of_one_connection_may_both_finish():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        first, second = await scene.begun(), await scene.begun()
        await scene.finish(second)
        await scene.finish(first)

        assert scene.parts["crm"].keeper.take().value.reveal() == "token-2"


async def test_a_human_who_says_no_leaves_nobody_waiting():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()

        assert await scene.refused(flow, code=None, error="access_denied") == ("access_denied", 400)
        assert scene.parts["crm"].keeper.snapshot().state.value == "authorization_required"
        with pytest.raises(Refusal):
            await scene.parts["crm"].keeper.wait()
        assert server.T == 0


async def test_without_a_place_to_come_back_to_nobody_sets_out():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        scene.base = None

        with pytest.raises(Refusal) as raised:
            await scene.authorizations.start("crm")
        assert "redirect" in raised.value.detail


@pytest.mark.parametrize("grant", ["device_code", "refresh_token"])
async def test_a_grant_that_no_browser_brings_sends_none_out(grant):
    connection = interactive_of(grant)
    async with AuthorizationServer() as server, playing(connection(server)) as scene:
        with pytest.raises(Refusal):
            await scene.authorizations.start("crm")
        assert server.T == 0


def interactive_of(grant):
    return lambda server: interactive(server, grant=grant, seed=Secret("seed") if grant == "refresh_token" else None)


async def test_a_device_is_begun_by_its_connection():
    async with AuthorizationServer() as server, playing(interactive(server, grant="device_code")) as scene:
        answer = {"device_code": "d", "user_code": "WDJB", "verification_uri": "https://example.com/d"}
        server.script(say(200, answer | {"expires_in": 60, "interval": 60}), at="/device")
        told = await scene.authorizations.device("crm")

        assert (told.user_code, told.expires_in) == ("WDJB", 60)


async def test_nobody_sets_out_for_a_connection_without_an_iclient_or_without_a_keeper():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        scene.parts["bare"] = Part(replace(interactive(server), iclient=None), scene.parts["crm"].keeper)
        scene.parts["idle"] = Part(interactive(server), None)
        for name in ("bare", "idle"):
            for begin in (scene.authorizations.start, scene.authorizations.device):
                with pytest.raises(Refusal):
                    await begin(name)
        del scene.parts["bare"], scene.parts["idle"]


@pytest.mark.parametrize(("grant", "other"), [("authorization_code", "device"), ("device_code", "start")])
async def test_who_is_refused_hears_what_would_be_needed(grant, other):
    async with AuthorizationServer() as server, playing(interactive(server, grant=grant)) as scene:
        with pytest.raises(Refusal) as raised:
            await getattr(scene.authorizations, other)("crm")

        assert ("a browser" if other == "start" else "a device") in raised.value.detail
        assert raised.value.problem.code == "no_route"


@pytest.mark.parametrize("gone", ["connection", "keeper"])
async def test_a_code_for_a_connection_that_has_left_asks_nothing(gone):
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()
        part = scene.parts.pop("crm")
        if gone == "keeper":
            scene.parts["crm"] = Part(part.connection, None)

        assert await scene.refused(flow) == ("invalid_state", 400)
        scene.parts["crm"] = part
        assert server.T == 0


@pytest.mark.parametrize(("pkce", "method"), [("off", None), ("plain", "plain"), ("S256", "S256")])
async def test_the_proof_is_the_one_that_the_definition_asks_for(pkce, method):
    async with AuthorizationServer() as server, playing(interactive(server, pkce=pkce)) as scene:
        flow = await scene.begun()
        await scene.finish(flow)

        form = server.asked[0].form
        assert flow.asked.get("code_challenge_method") == method
        assert ("code_challenge" in flow.asked) == ("code_verifier" in form) == (pkce != "off")
        if pkce == "plain":
            assert form["code_verifier"] == flow.asked["code_challenge"]


async def test_where_the_authorization_url_can_not_be_made_nobody_sets_out():
    async with AuthorizationServer() as server:
        connection = interactive(server, authorization_params=(("x", compile_template("{{{connection.params.no}}}")),))
        async with playing(connection) as scene:
            with pytest.raises(Refusal) as raised:
                await scene.authorizations.start("crm")
            assert raised.value.problem.code == "authorization_failed"
            assert "authorization URL" in raised.value.detail


async def test_requests_wait_for_a_human_who_has_set_out_and_not_for_one_who_has_not():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        keeper = scene.parts["crm"].keeper
        with pytest.raises(Refusal):
            await keeper.wait()
        flow = await scene.begun()
        waiting = asyncio.create_task(keeper.wait(), name="an application's request")
        await asyncio.sleep(0)
        await scene.finish(flow)

        async with awaiting("the token that the human brought"):
            assert (await waiting).value.reveal() == "token-1"


async def test_the_browser_is_to_come_back_to_the_origin_of_the_redirect_url():
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        assert (await scene.authorizations.start("crm")).redirect_origin == BASE


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"error": "access_denied"}, "access_denied", "The authorization server says no: access_denied."),
        ({"error": "made_up_<b>"}, "access_denied", "The authorization server says no."),
        ({"error": "server_error", "code": "x"}, "invalid_callback", "What the browser brought back can't be read."),
        ({}, "invalid_callback", "What the browser brought back can't be read."),
        ({"code": "c", "state": "f" * 64}, "invalid_state", "It has ended, it was used, or it never began here."),
    ],
)
async def test_the_human_hears_what_was_wrong_in_whole_sentences_of_ours(query, code, message):
    async with AuthorizationServer() as server, playing(interactive(server)) as scene:
        flow = await scene.begun()
        with pytest.raises(AuthorizationError) as raised:
            await scene.finish(flow, **{"code": None, **query})

        assert raised.value.code == code
        assert raised.value.message.startswith(message)
        assert raised.value.message.count(".") == message.count(".") + (code.startswith("invalid"))
        assert raised.value.message.endswith(".")


async def test_a_code_from_another_server_than_the_one_asked_is_redeemed_nowhere():
    async with AuthorizationServer() as server, playing(interactive(server, issuer=None)) as scene:
        scene.parts["crm"] = Part(
            replace(
                scene.parts["crm"].connection,
                iclient=replace(scene.parts["crm"].connection.iclient, issuer="https://a"),
            ),
            scene.parts["crm"].keeper,
        )
        flow = await scene.begun()

        assert await scene.refused(flow, iss="https://b") == ("issuer_mismatch", 400)
        assert server.T == 0
