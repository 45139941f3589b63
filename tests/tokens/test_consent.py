"""What a human brings: codes that are redeemed once, devices on which a code is entered, grants that are given back."""

import asyncio

import pytest

from proxy.definitions.models import RequestOverride
from proxy.definitions.templates.urls import compile_url
from proxy.errors import TokenUnavailable
from proxy.oauth.grant import Authorization
from proxy.secret import Secret
from proxy.tokens.states import State
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, say, token, when
from tests.support.deadline import awaiting, eventually
from tests.tokens.kept import connection_to, kept, limits, token_of, waiting

BACK = "http://127.0.0.1:7489/oauth/callback/acme"


def interactive(server, *, grant="authorization_code", seed=None, **client):
    base = server.url.removesuffix("/token")
    urls = {
        "authorization_url": compile_url(f"{base}/authorize"),
        "device_authorization_url": compile_url(f"{base}/device"),
        "revocation_url": compile_url(f"{base}/revoke"),
    }
    return connection_to(server, written={"refresh_token": seed}, grant_type=grant, **urls, **client)


def code(text="canary-code"):
    return Authorization(Secret(text), Secret("v" * 43), BACK, "a-state")


async def refusal(awaitable):
    with pytest.raises(TokenUnavailable) as raised:
        async with awaiting("a refusal"):
            await awaitable
    return raised.value


# ------------------------------------------------------------------------------------------------------------- browser


@pytest.mark.case("D-184")
async def test_without_a_grant_nothing_is_asked_and_requests_are_refused_at_once():
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        refused = await refusal(keeper.wait())

        assert refused.problem.code == "authorization_required"
        assert keeper.snapshot().state is State.AUTHORIZATION_REQUIRED
        assert server.T == 0


async def test_a_code_becomes_a_grant_that_refreshes_from_then_on():
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        server.script(token(refresh_token="r1", instance="eu"), token(refresh_token="r2"))
        await refusal(keeper.wait())
        await keeper.consent.redeem(code(), {"realmId": "9"})
        held = keeper.take()
        await keeper.renew()

        assert server.asked[0].form == {
            "grant_type": "authorization_code",
            "code": "canary-code",
            "redirect_uri": BACK,
            "code_verifier": "v" * 43,
        }
        assert held.value.reveal() == "token-1"
        assert (held.fields["instance"], held.callback) == ("eu", {"realmId": "9"})
        assert server.asked[1].form == {"grant_type": "refresh_token", "refresh_token": "r1"}
        assert keeper.take().callback == {"realmId": "9"}
        assert "authorized" in [event.kind for event in keeper.events]


@pytest.mark.case("A-343")
@pytest.mark.parametrize("answer", [raw(End.RESET), respond(503), error("invalid_grant")])
async def test_a_code_is_sent_once_whatever_comes_of_it(answer):
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        server.script(answer)
        refused = await refusal(keeper.consent.redeem(code(), {}))

        assert refused.problem.code == "authorization_failed"
        assert server.T == 1
        assert (await refusal(keeper.wait())).problem.code == "authorization_required"
        assert server.T == 1


async def test_a_browser_that_leaves_does_not_lose_the_grant():
    gate = asyncio.Event()
    server = AuthorizationServer(default=when(gate, token(refresh_token="r1")))
    async with server, kept(interactive(server)) as keeper:
        browser = asyncio.create_task(keeper.consent.redeem(code(), {}), name="browser")
        await server.was_asked(1)
        browser.cancel()
        await asyncio.gather(browser, return_exceptions=True)
        gate.set()
        await eventually("the token", lambda: keeper.take() is not None)

        assert keeper.take().value.reveal() == "token-1"


@pytest.mark.case("A-344")
async def test_of_two_authorizations_the_last_one_counts():
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        server.script(token(refresh_token="first"), token(refresh_token="second"), token())
        await keeper.consent.redeem(code("one"), {})
        await keeper.consent.redeem(code("two"), {})
        await keeper.renew()

        assert server.asked[2].form["refresh_token"] == "second"


async def test_requests_wait_while_somebody_authorizes():
    async with AuthorizationServer() as server, kept(interactive(server)) as keeper:
        await refusal(keeper.wait())
        keeper.consent.expected(600.0)
        [request] = await waiting(keeper, 1)
        server.script(token(refresh_token="r1"))
        await keeper.consent.redeem(code(), {})

        assert (await request).value.reveal() == "token-1"


async def test_requests_wait_no_longer_than_for_any_token():
    async with AuthorizationServer() as server, kept(interactive(server), limits=limits(token_wait=0.2)) as keeper:
        await refusal(keeper.wait())
        keeper.consent.expected(600.0)

        assert (await refusal(keeper.wait())).problem.code == "authorization_required"


@pytest.mark.case("T-60")
async def test_a_refresh_token_that_is_refused_asks_for_a_human_while_the_access_token_serves_on():
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(token(), error("invalid_grant"))
        assert await token_of(keeper) == "token-1"
        assert (await refusal(keeper.renew())).problem.code == "authorization_required"

        assert await token_of(keeper) == "token-1"
        assert keeper.snapshot().next_action.value == "authorize"
        assert (await refusal(keeper.renew())).problem.code == "authorization_required"
        assert server.T == 2


async def test_the_refresh_token_that_the_operator_brought_is_used_until_it_is_rotated():
    async with AuthorizationServer() as server:
        connection = interactive(server, grant="refresh_token", seed=Secret("seed"))
        async with kept(connection) as keeper:
            server.script(token(refresh_token="r1"), token())
            await token_of(keeper)
            await keeper.renew()

            assert [asked.form["refresh_token"] for asked in server.asked] == ["seed", "r1"]


# -------------------------------------------------------------------------------------------------------------- device


def device(**fields):
    content = {"device_code": "canary-device", "user_code": "WDJB-MJHT", "verification_uri": "https://example.com/d"}
    return say(200, content | {"expires_in": 600, "interval": 0.01} | fields)


async def test_a_device_is_polled_until_somebody_has_entered_the_code():
    async with AuthorizationServer() as server, kept(interactive(server, grant="device_code")) as keeper:
        server.script(device(), error("authorization_pending"), respond(503), token(refresh_token="r1"))
        told = await keeper.consent.device()
        async with awaiting("the token"):
            found = await keeper.wait()

        assert (told.user_code, told.verification_uri) == ("WDJB-MJHT", "https://example.com/d")
        assert found.value.reveal() == "token-4"
        assert [asked.target for asked in server.asked] == ["/device", "/token", "/token", "/token"]
        assert server.asked[1].form == {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": "canary-device",
        }


@pytest.mark.parametrize("word", ["access_denied", "expired_token"])
async def test_a_device_that_was_refused_is_polled_no_more(word):
    async with AuthorizationServer() as server, kept(interactive(server, grant="device_code")) as keeper:
        server.script(device(), error(word))
        await keeper.consent.device()
        await eventually("the end of the flow", lambda: "failed" in [event.kind for event in keeper.events])

        assert (await refusal(keeper.wait())).problem.code == "authorization_required"
        assert server.T == 2


async def test_a_code_that_nobody_enters_ends_the_flow():
    server = AuthorizationServer(default=error("authorization_pending"))
    async with server, kept(interactive(server, grant="device_code")) as keeper:
        server.script(device(expires_in=1, interval=0.3))
        await keeper.consent.device()
        await eventually(
            "the end of the flow", lambda: "authorization_failed" in [event.kind for event in keeper.events]
        )

        assert server.T <= 4


# ----------------------------------------------------------------------------------------------------------- revoking


async def test_revoking_gives_back_the_refresh_token_first_then_the_access_token():
    async with AuthorizationServer() as server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(token(refresh_token="r1"), respond(200), respond(200))
        await token_of(keeper)
        outcome = await keeper.revoke()

        assert outcome == ("refresh_token: revoked", "access_token: revoked")
        assert [asked.form for asked in server.asked[1:]] == [
            {"token": "r1", "token_type_hint": "refresh_token"},
            {"token": "token-1", "token_type_hint": "access_token"},
        ]
        assert keeper.take() is None
        assert (await refusal(keeper.wait())).problem.code == "authorization_required"
        assert server.T == 3


async def test_after_revoking_another_grant_runs_again_at_the_next_request():
    async with AuthorizationServer() as server:
        revocation = compile_url(server.url.removesuffix("/token") + "/revoke")
        async with kept(connection_to(server, revocation_url=revocation)) as keeper:
            server.script(token(), respond(200))
            await token_of(keeper)
            await keeper.revoke()

            assert keeper.snapshot().state is State.NONE
            assert server.T == 2
            assert await token_of(keeper) == "token-3"


@pytest.mark.case("T-98")
@pytest.mark.parametrize(
    ("answers", "code", "asked"),
    [
        ([respond(503, retry_after="0"), respond(200)], "revoked", 2),
        ([respond(503)] * 4, "token_server_error", 3),
        ([error("unsupported_token_type")], "revoked", 1),
        ([respond(404)], "token_error_other", 1),
        ([respond(302, location="https://example.com")], "token_endpoint_redirect", 1),
    ],
)
async def test_a_revocation_is_tried_three_times_where_that_may_help(answers, code, asked):
    async with AuthorizationServer() as server:
        revocation = compile_url(server.url.removesuffix("/token") + "/revoke")
        async with kept(connection_to(server, revocation_url=revocation)) as keeper:
            server.script(token(), *answers)
            await token_of(keeper)

            assert await keeper.revoke() == (f"access_token: {code}",)
            assert 1 + asked == server.T
            assert keeper.take() is None


@pytest.mark.case("T-99")
async def test_a_renewal_that_ends_after_a_revocation_is_given_back():
    gate = asyncio.Event()
    server = AuthorizationServer(default=respond(200))
    async with server, kept(interactive(server, seed=Secret("seed"))) as keeper:
        server.script(when(gate, token(refresh_token="late")))
        requests = await waiting(keeper, 1)
        await server.was_asked(1)
        revoking = asyncio.create_task(keeper.revoke(), name="revoking")
        await server.was_asked(2)
        gate.set()
        await revoking
        await server.was_asked(4)

        assert [asked.form["token"] for asked in server.asked[1:]] == ["seed", "late", "token-1"]
        assert (await refusal(requests[0])).problem.code == "authorization_required"
        assert keeper.take() is None


async def test_what_can_not_be_revoked_is_forgotten_all_the_same():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)

        assert await keeper.revoke() == ("access_token: revocation_unsupported",)
        assert keeper.take() is None
        assert server.T == 1


async def test_a_revocation_may_be_overridden():
    async with AuthorizationServer() as server:
        override = RequestOverride(method="DELETE", url=compile_url(server.url.removesuffix("/token") + "/tokens"))
        async with kept(connection_to(server, revocation_request=override)) as keeper:
            server.script(token(), respond(204))
            await token_of(keeper)
            await keeper.revoke()

            assert server.asked[1].method == "DELETE"
            assert server.asked[1].target == "/tokens?token=token-1&token_type_hint=access_token"
            assert server.asked[1].body == b""
