"""What is looked up anew for each request: metadata, clocks, rotated files; and what is never asked."""

import asyncio
import base64
import json
import threading
import time
from contextlib import AsyncExitStack
from email.utils import formatdate

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.definitions.keys.signing_keys import private_key
from proxy.definitions.models import Jwt, RequestOverride, SecretFile, Tls, TokenExchange
from proxy.definitions.templates.placeholders import literal
from proxy.definitions.templates.urls import compile_url
from proxy.errors import TokenUnavailable
from proxy.oauth.grant import NO_GRANT
from proxy.oauth.request import own_grant
from proxy.secret import Secret
from proxy.tokens.correspondence import Correspondent, Sources
from proxy.tokens.discovery import KEPT, SOON, Discoveries
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, say, token, when
from tests.support.deadline import awaiting
from tests.tokens.kept import PushedClock, connection_to, kept, token_of
from tests.tokens.test_consent import code, refusal

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
DAY = 86400.0


def claims_of(text):
    """Return the claims of a JSON Web Token, unverified."""
    _, payload, _ = text.split(".")
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def discovered(server, name="crm", **client):
    return connection_to(server, name, issuer=server.issuer, token_url=None, **client)


def metadata(server, **urls):
    return say(200, {"issuer": server.issuer, "token_endpoint": server.url, **urls})


def paths(server):
    return [asked.target for asked in server.asked]


# ------------------------------------------------------------------------------------------------------------ metadata


async def test_what_is_not_written_is_read_from_the_metadata_once():
    async with AuthorizationServer() as server, kept(discovered(server)) as keeper:
        server.script(metadata(server), at=OAUTH)
        await keeper.renew()
        await keeper.renew()

        assert paths(server) == [OAUTH, "/token", "/token"]
        assert server.asked[0].values("authorization") == []


async def test_where_the_first_place_has_no_metadata_the_second_may():
    async with AuthorizationServer() as server, kept(discovered(server)) as keeper:
        server.script(respond(404), at=OAUTH)
        server.script(metadata(server), at=OPENID)
        await keeper.renew()

        assert paths(server) == [OAUTH, OPENID, "/token"]


async def test_metadata_that_name_a_host_outside_the_valid_domains_get_no_secret():
    async with AuthorizationServer() as server, kept(discovered(server)) as keeper:
        server.script(metadata(server, token_endpoint="https://evil.example/token"), at=OAUTH)
        refused = await refusal(keeper.renew())

        assert refused.problem.code == "url_outside_valid_domains"
        assert paths(server) == [OAUTH]


@pytest.mark.parametrize("answer", [respond(404), respond(503), raw(End.RESET), respond(200, b"<html>")])
async def test_metadata_that_nobody_needs_stand_in_no_ones_way(answer):
    async with AuthorizationServer() as server, kept(connection_to(server, issuer=server.issuer)) as keeper:
        server.script(answer, at=OAUTH)

        assert await token_of(keeper)
        assert paths(server) == ["/token"]


async def test_metadata_are_read_again_after_a_day_and_the_old_ones_do_while_the_server_is_away():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(discovered(server), clock=clock) as keeper:
        server.script(metadata(server), respond(503), metadata(server), at=OAUTH)
        await keeper.renew()
        clock.push(KEPT)
        await keeper.renew()
        clock.push(SOON / 2)
        await keeper.renew()
        clock.push(SOON)
        await keeper.renew()

        assert paths(server) == [OAUTH, "/token", OAUTH, "/token", "/token", OAUTH, "/token"]


async def test_metadata_that_lead_nowhere_are_read_again_before_long():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(discovered(server), clock=clock) as keeper:
        moved = metadata(server, token_endpoint=server.url_of("/new"))
        server.script(metadata(server), moved, at=OAUTH)
        server.script(token(), respond(404), at="/token")
        server.script(token("from the new place"), at="/new")
        await keeper.renew()
        clock.push(SOON)
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        clock.push(DAY / 100)
        await keeper.renew()

        assert paths(server) == [OAUTH, "/token", "/token", OAUTH, "/new"]
        assert await token_of(keeper) == "from the new place"


async def test_connections_of_one_issuer_share_what_it_says_and_those_that_trust_another_way_do_not():
    discoveries = Discoveries(PushedClock(), limit=1024)
    async with (
        AuthorizationServer() as server,
        kept(discovered(server, "one"), discoveries=discoveries) as one,
        kept(discovered(server, "two", client_id=literal("other")), discoveries=discoveries) as two,
        kept(discovered(server, "three", tls=Tls(server_name="other")), discoveries=discoveries) as three,
        kept(
            discovered(server, "four", valid_domains=(server.authority, "x.example")), discoveries=discoveries
        ) as four,
    ):
        server.script(*[metadata(server)] * 3, at=OAUTH)
        async with awaiting("all tokens"):
            await asyncio.gather(one.renew(), two.renew())
            assert paths(server) == [OAUTH, "/token", "/token"]
            await asyncio.gather(three.renew(), four.renew())

        assert sorted(paths(server)) == [*[OAUTH] * 3, *["/token"] * 4]


async def test_an_issuer_that_is_away_is_asked_once_for_all_who_wait():
    discoveries = Discoveries(PushedClock(), limit=1024)
    gate = asyncio.Event()
    async with AuthorizationServer() as server, AsyncExitStack() as after:
        server.script(when(gate, raw(End.RESET)), at=OAUTH)
        keepers = [
            await after.enter_async_context(kept(discovered(server, f"c{n}"), discoveries=discoveries))
            for n in range(20)
        ]
        renewals = [asyncio.create_task(keeper.renew(), name="renewing") for keeper in keepers]
        await server.was_asked(1)
        gate.set()
        async with awaiting("all refusals"):
            ends = await asyncio.gather(*renewals, return_exceptions=True)

        assert {end.problem.code for end in ends} == {"token_unavailable"}
        assert paths(server) == [OAUTH]


async def test_who_leaves_while_metadata_are_read_takes_them_from_nobody():
    discoveries = Discoveries(PushedClock(), limit=1024)
    async with (
        AuthorizationServer() as server,
        kept(discovered(server, "stays"), discoveries=discoveries) as stays,
    ):
        server.script(raw(End.STALL), metadata(server), at=OAUTH)
        async with kept(discovered(server, "leaves"), discoveries=discoveries) as leaves:
            leaving = asyncio.create_task(leaves.renew(), name="leaving")
            await server.was_asked(1)
            renewal = asyncio.create_task(stays.renew(), name="staying")
            await asyncio.sleep(0)
        await asyncio.gather(leaving, return_exceptions=True)
        async with awaiting("the other one's token"):
            await renewal

        assert paths(server) == [OAUTH, OAUTH, "/token"]


async def test_revoking_asks_the_metadata_where():
    async with AuthorizationServer() as server, kept(connection_to(server, issuer=server.issuer)) as keeper:
        server.script(metadata(server, revocation_endpoint=server.url_of("/revoke")), at=OAUTH)
        server.script(respond(200), at="/revoke")
        await token_of(keeper)
        assert keeper.can_revoke

        assert await keeper.revoke() == ("access_token: revoked",)
        assert paths(server) == ["/token", OAUTH, "/revoke"]


async def test_a_server_whose_metadata_name_no_revocation_is_not_asked_for_one_again():
    async with AuthorizationServer() as server, kept(discovered(server)) as keeper:
        server.script(metadata(server), at=OAUTH)
        await token_of(keeper)

        assert not keeper.can_revoke
        assert await keeper.revoke() == ("access_token: revocation_unsupported",)


async def test_a_revocation_goes_where_the_token_answer_leads():
    async with AuthorizationServer() as server:
        override = RequestOverride(url=compile_url(server.url_of("/{{{connection.token.fields.tenant}}}/revoke")))
        async with kept(connection_to(server, revocation_request=override)) as keeper:
            server.script(token(tenant="eu"))
            server.script(respond(200), at="/eu/revoke")
            await token_of(keeper)

            assert await keeper.revoke() == ("access_token: revoked",)


# -------------------------------------------------------------------------------------------------------------- clocks


def signing(lifetime=300.0, **jwt):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Jwt(algorithm="RS256", key=private_key(pem, None), lifetime=lifetime, **jwt)


def signer(server, auth="private_key_jwt", **client):
    return connection_to(server, client_auth=auth, jwt=signing(), **client)


def date(seconds):
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.case("T-91")
@pytest.mark.parametrize("ahead", [90, -90])
async def test_an_assertion_is_signed_anew_by_the_servers_clock_when_ours_is_wrong(ahead):
    async with AuthorizationServer() as server, kept(signer(server)) as keeper:
        server.script(error("invalid_client", 401, date=date(ahead)), token(), token())
        await keeper.renew()
        await keeper.renew()

        first, second, third = [claims_of(asked.form["client_assertion"]) for asked in server.asked]
        assert abs(second["iat"] - first["iat"] - ahead) <= 2
        assert abs(third["iat"] - first["iat"] - ahead) <= 3  # it is remembered
        assert len({first["jti"], second["jti"], third["jti"]}) == 3
        assert second["exp"] - second["iat"] == 300
        assert abs(keeper.skew - ahead) <= 2
        assert server.T == 3


@pytest.mark.case("T-91", "R-391")
@pytest.mark.parametrize("step", [3600, -3600, 86400, -86400])
async def test_after_our_clock_was_set_an_assertion_is_signed_by_the_servers_clock_again(step):
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(signer(server), clock=clock) as keeper:
        server.script(
            token(), error("invalid_client", 401, date=date(0)), token(), error("invalid_client", 401, date=date(0))
        )
        await keeper.renew()
        clock.wall_ahead += step
        await keeper.renew()
        assert abs(keeper.skew + step) <= 2
        clock.wall_ahead -= step
        await keeper.renew()

        issued = [claims_of(asked.form["client_assertion"])["iat"] - time.time() for asked in server.asked]
        assert [round(seconds / 60) * 60 for seconds in issued] == [0, step, 0, -step, 0]
        assert keeper.skew == 0.0


@pytest.mark.case("T-91")
@pytest.mark.parametrize("ahead", [10, None])
async def test_an_assertion_is_not_tried_again_when_the_clocks_agree(ahead):
    async with AuthorizationServer() as server, kept(signer(server)) as keeper:
        server.script(error("invalid_client", 401, **({} if ahead is None else {"date": date(ahead)})))

        assert (await refusal(keeper.renew())).problem.code == "client_rejected"
        assert (server.T, keeper.skew) == (1, 0.0)


@pytest.mark.case("T-91")
async def test_an_assertion_is_tried_again_once_only():
    async with AuthorizationServer() as server, kept(signer(server)) as keeper:
        server.script(*[error("invalid_client", 401, date=date(90))] * 3)

        assert (await refusal(keeper.renew())).problem.code == "client_rejected"
        assert server.T == 2


async def test_a_client_that_signs_nothing_does_not_mind_the_clock():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(error("invalid_client", 401, date=date(90)))

        assert (await refusal(keeper.renew())).problem.code == "client_rejected"
        assert server.T == 1


@pytest.mark.case("T-61", "T-91")
async def test_the_line_of_a_refused_assertion_tells_how_far_the_clocks_are_apart():
    with structlog.testing.capture_logs() as lines:
        async with AuthorizationServer() as server, kept(signer(server, "none", grant_type="jwt_bearer")) as keeper:
            server.script(*[error("invalid_grant", date=date(-120))] * 2)
            await refusal(keeper.renew())

    [line] = [each for each in lines if each["event"] == "renewal"]
    assert (line["code"], line["grant"], line["requests"]) == ("invalid_grant", "jwt_bearer", 2)
    assert abs(line["clock_skew"] + 120) <= 2


@pytest.mark.case("T-91", "A-343")
async def test_a_code_is_not_sent_again_because_of_a_clock():
    async with AuthorizationServer() as server, kept(signer(server, grant_type="authorization_code")) as keeper:
        server.script(error("invalid_client", 401, date=date(90)))
        await refusal(keeper.consent.redeem(code(), {}))

        assert server.T == 1


async def test_signing_does_not_hold_the_loop():
    threads = []
    connection = connection_to_nowhere(client_auth="private_key_jwt", jwt=signing())

    def entropy(size):
        threads.append(threading.current_thread())
        return bytes(size)

    class Nothing:
        known = None

    server = Correspondent(
        connection, connection.iclient, None, Nothing(), PushedClock(), Sources(lambda: 0.5, entropy, lambda: None)
    )
    made = await server.made(own_grant, NO_GRANT, discover=False)

    assert b"client_assertion=" in made.body
    assert threads
    assert threading.main_thread() not in threads


def connection_to_nowhere(**client):
    class Server:
        url, authority = "https://auth.example.com/token", "auth.example.com"

    return connection_to(Server, **client)


# ---------------------------------------------------------------------------------------------- files of somebody else


async def test_a_rotated_assertion_is_read_for_each_request(tmp_path):
    file = tmp_path / "assertion"
    file.write_text("first\n")
    jwt = Jwt(token=SecretFile(path=file))
    async with AuthorizationServer() as server:
        connection = connection_to(server, grant_type="jwt_bearer", client_auth="none", jwt=jwt)
        async with kept(connection) as keeper:
            await keeper.renew()
            file.write_text("second\n")
            await keeper.renew()

            assert [asked.form["assertion"] for asked in server.asked] == ["first", "second"]


async def test_a_rotated_subject_token_is_read_for_each_request(tmp_path):
    subject, actor = tmp_path / "subject", tmp_path / "actor"
    subject.write_text("subject-1")
    actor.write_text("actor-1")
    exchange = TokenExchange(
        subject_token=SecretFile(path=subject),
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        actor_token=SecretFile(path=actor),
    )
    async with AuthorizationServer() as server:
        connection = connection_to(server, grant_type="token_exchange", token_exchange=exchange)
        async with kept(connection) as keeper:
            await keeper.renew()
            subject.write_text("subject-2")
            await keeper.renew()

            asked = [(each.form["subject_token"], each.form["actor_token"]) for each in server.asked]
            assert asked == [("subject-1", "actor-1"), ("subject-2", "actor-1")]
            assert keeper.counters.requests["token_exchange", "ok"] == 2


async def test_a_file_that_is_gone_costs_a_back_off_and_no_request(tmp_path):
    file = tmp_path / "assertion"
    async with AuthorizationServer() as server:
        connection = connection_to(
            server, grant_type="jwt_bearer", client_auth="none", jwt=Jwt(token=SecretFile(path=file))
        )
        async with kept(connection) as keeper:
            assert (await refusal(keeper.renew())).problem.code == "token_unavailable"
            assert server.T == 0
            file.write_text("back")
            assert await token_of(keeper)


# ----------------------------------------------------------------------------------------------- no server at all


async def test_a_self_signed_token_asks_nobody_and_is_signed_anew_when_it_is_due():
    clock = PushedClock()
    async with AuthorizationServer() as server:
        connection = connection_to(
            server, grant_type="self_signed_jwt", client_auth="none", issuer=server.issuer, token_url=None,
            jwt=signing(lifetime=100.0),
        )  # fmt: skip
        async with kept(connection, clock=clock) as keeper:
            first = await token_of(keeper)
            clock.push(91)
            second = await token_of(keeper)

            assert claims_of(second)["exp"] - claims_of(first)["exp"] >= 90
            assert keeper.snapshot().state.value == "valid"
            assert server.T == 0


@pytest.mark.case("T-403")
async def test_an_access_token_is_not_looked_into():
    body = base64.urlsafe_b64encode(json.dumps({"exp": 1}).encode()).decode().rstrip("=")
    past = f"eyJhbGciOiJub25lIn0.{body}."
    async with (
        AuthorizationServer(default=token(past, expires_in=3600)) as server,
        kept(connection_to(server)) as keeper,
    ):
        assert await token_of(keeper) == past
        assert keeper.snapshot().state.value == "valid"


# --------------------------------------------------------------------------------------------------- what is told of it


def scoped(server):
    return connection_to(server, written={"scopes": ("read", "write")})


@pytest.mark.case("T-404")
async def test_a_scope_that_is_not_the_one_asked_for_is_told_once_for_each_change():
    answers = ["read write", "read", "read", "write read", "write"]
    with structlog.testing.capture_logs() as lines:
        async with AuthorizationServer() as server, kept(scoped(server)) as keeper:
            server.script(*(token(scope=scope) for scope in answers))
            for _ in answers:
                await keeper.renew()

    told = [(line["log_level"], line.get("scope_granted")) for line in lines if line["event"] == "renewal"]
    assert told == [("info", None), ("warning", "read"), ("info", None), ("info", None), ("warning", "write")]


@pytest.mark.case("T-402")
@pytest.mark.parametrize(("auth", "told"), [("tls_client_auth", 1), ("client_secret_basic", 0)])
async def test_a_refused_token_that_may_be_bound_to_a_certificate_is_told_of_once(auth, told):
    with structlog.testing.capture_logs() as lines:
        async with AuthorizationServer() as server, kept(connection_to(server, client_auth=auth)) as keeper:
            for _ in range(2):
                await token_of(keeper)
                held = keeper.take()
                for _ in range(3):
                    keeper.refused(held)
            async with awaiting("a new token"):
                await keeper.wait()

    hints = [line["hint"] for line in lines if line["event"] == "token_refused"]
    assert len(hints) == told
    assert all("tls.client_cert" in hint for hint in hints)
    assert [event.kind for event in keeper.events].count("refused") >= 1


async def test_known_series_begin_at_zero():
    secret = Secret("seed")
    async with AuthorizationServer() as server:
        for grant in ("authorization_code", "device_code", "refresh_token", "jwt_bearer", "token_exchange"):
            async with kept(connection_to(server, grant_type=grant, written={"refresh_token": secret})) as keeper:
                assert keeper.counters.requests[grant, "ok"] == 0
                assert keeper.counters.requests["refresh_token", "ok"] == 0
