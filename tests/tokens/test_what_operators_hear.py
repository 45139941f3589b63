"""What is written of each renewal, what a keeper that was closed still does, and what its events say."""

import pytest
from structlog.testing import capture_logs

from proxy.access_token import Refused
from proxy.errors import TokenUnavailable
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, token
from tests.support.deadline import eventually
from tests.tokens.kept import PushedClock, connection_to, kept, token_of
from tests.tokens.shared_grants import SharedGrants
from tests.tokens.test_consent import code, interactive
from tests.tokens.test_replicas import brought, kinds, replicas, rotated


def lines(logs, event="renewal"):
    return [line for line in logs if line["event"] == event]


async def test_the_line_of_a_renewal_says_by_which_grant_with_how_many_requests_and_how_long():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(token(refresh_token="r1", expires_in=100))
        with capture_logs() as logs:
            await token_of(keeper)
            await keeper.renew()

        first, second = lines(logs)
        assert (first["grant"], first["requests"], first["outcome"], first["expires_in"]) == (
            "client_credentials", 1, "ok", 100.0,
        )  # fmt: skip
        assert second["grant"] == "refresh_token"
        assert all(0 <= line["ms"] < 60_000 and line["ms"] == round(line["ms"], 1) for line in (first, second))
        assert [event.text for event in keeper.events] == [
            "a new token by refresh_token", "a new token by client_credentials",
        ]  # fmt: skip


async def test_the_line_of_a_failure_says_when_the_next_attempt_is_due():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(respond(503), raw(End.RESET), error("invalid_client"))
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(TokenUnavailable):
                    await keeper.renew()

        found = lines(logs)
        assert len(found) >= 2
        assert all(line["log_level"] == "warning" and line["grant"] == "client_credentials" for line in found)
        assert 299 <= found[-1]["next_attempt_in"] <= 300
        assert found[-1]["next_attempt_in"] == round(found[-1]["next_attempt_in"], 1)
        assert all(0 <= line["next_attempt_in"] < 1 for line in found[:-1])
        assert set(kinds(keeper)) == {"failed"}


async def test_what_a_human_brought_is_written_like_any_renewal_and_that_one_is_needed_once():
    async with AuthorizationServer() as server:
        with capture_logs() as logs:
            async with kept(interactive(server)) as keeper:
                keeper.start()
                keeper.snapshot()
                assert len(lines(logs, "authorization_required")) == 1
                await keeper.consent.redeem(code(), {})
                assert sorted(kinds(keeper)) == ["authorized", "renewed"]

        assert [line["grant"] for line in lines(logs)] == ["authorization_code"]
        assert len(lines(logs, "authorization_required")) == 1


async def test_a_replica_hears_that_another_one_gave_the_tokens_back():
    grants = SharedGrants()
    async with (
        AuthorizationServer(default=respond(200)) as server,
        replicas(2, brought(server), grants) as (first, second),
    ):
        server.script(rotated(1))
        await token_of(first)
        await token_of(second)
        await first.revoke()
        await eventually("the end of the token", lambda: second.take() is None)

        assert kinds(second)[0] == "revoked"
        assert second.events[0].text == "another replica gave the tokens back"
        assert second.snapshot().state.value != "valid"


async def test_a_keeper_that_was_closed_serves_what_it_has_and_asks_for_nothing():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(connection_to(server), clock=clock) as keeper:
        server.script(token(expires_in=100))
        await token_of(keeper)
        held = keeper.take()
        await keeper.close()

        assert keeper.take() is held
        assert keeper.refused(held) is Refused.RELAY
        with pytest.raises(TokenUnavailable) as refused:
            await keeper.renew()
        assert refused.value.problem.code == "shutting_down" or refused.value.problem.status == 503
        clock.push(1000)
        assert keeper.take() is None
        with pytest.raises(TokenUnavailable):
            await keeper.wait()
        assert server.T == 1


async def test_a_refused_token_is_renewed_once_and_the_next_refusal_is_relayed():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)
        first = keeper.take()
        keeper.accepted(first)
        assert keeper.refused(first) is Refused.RETRY
        await token_of(keeper)
        second = keeper.take()

        assert second is not first
        assert keeper.unproven
        assert keeper.refused(first) is Refused.RETRY
        assert keeper.refused(second, replayed=True) is Refused.RELAY
        assert kinds(keeper)[0] == "disputed"
        assert server.T == 2
