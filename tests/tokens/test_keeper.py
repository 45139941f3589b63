"""Keepers over a real authorization server: one renewal for all, and what requests get when there is none."""

import asyncio
import math
from contextlib import suppress

import pytest
import structlog

from proxy.access_token import Refused
from proxy.definitions.models import Tls
from proxy.definitions.settings import Span
from proxy.errors import TokenUnavailable
from proxy.outbound.resolve import Resolver
from proxy.secret import Secret
from proxy.tokens.snapshot import NextAction
from proxy.tokens.states import State
from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, say, token, when
from tests.support.deadline import awaiting, eventually
from tests.tokens.kept import PushedClock, connection_to, kept, limits, token_of, waiting

IMPATIENT = limits(token_wait=0.3)


async def unavailable(keeper):
    """Return the refusal that a request gets."""
    with pytest.raises(TokenUnavailable) as raised:
        async with awaiting("a refusal"):
            await keeper.wait()
    return raised.value


# ---------------------------------------------------------------------------------------------------------- one flight


@pytest.mark.case("R-361")
async def test_ten_thousand_cold_requests_make_one_token_request():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        async with awaiting("all tokens"):
            tokens = await asyncio.gather(*await waiting(keeper, 10_000))

        assert {found.value.reveal() for found in tokens} == {"token-1"}
        assert server.T == 1
        assert keeper.counters.requests["client_credentials", "ok"] == 1
        assert sum(keeper.counters.duration.counts) == 1


@pytest.mark.case("R-362")
async def test_the_request_that_started_a_renewal_may_leave():
    gate = asyncio.Event()
    async with AuthorizationServer(default=when(gate, token())) as server, kept(connection_to(server)) as keeper:
        first, *others = await waiting(keeper, 100)
        await server.was_asked(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gate.set()
        async with awaiting("the other tokens"):
            tokens = await asyncio.gather(*others)

        assert first.cancelled()
        assert {found.value.reveal() for found in tokens} == {"token-1"}
        assert server.T == 1


async def test_a_crowd_that_waits_is_served_in_turns_so_that_others_have_theirs():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        tasks = await waiting(keeper, 1000)
        async with awaiting("the first tokens"):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        served = sum(task.done() for task in tasks)
        async with awaiting("all tokens"):
            await asyncio.gather(*tasks)

        assert 0 < served < 500
        assert server.T == 1


async def test_a_token_that_is_refused_while_a_crowd_is_served_is_given_to_nobody_any_more():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        tasks = await waiting(keeper, 1000)
        async with awaiting("the first tokens"):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        spent = keeper.take()
        done = {task for task in tasks if task.done()}
        assert keeper.refused(spent) is Refused.RETRY
        async with awaiting("all tokens"):
            later = await asyncio.gather(*(task for task in tasks if task not in done))

        given = [token.value.reveal() for token in later]
        assert given.count("token-1") < len(given) / 2  # those to whom it was on its way already
        assert given.count("token-2") == len(given) - given.count("token-1")
        assert server.T == 2


@pytest.mark.case("R-363")
async def test_all_who_wait_may_leave_at_once_and_the_renewal_goes_on():
    gate = asyncio.Event()
    async with AuthorizationServer(default=when(gate, token())) as server, kept(connection_to(server)) as keeper:
        tasks = await waiting(keeper, 5000)
        await server.was_asked(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.set()

        assert await token_of(keeper) == "token-1"
        assert server.T == 1
        assert all(task.cancelled() for task in tasks)


@pytest.mark.case("R-364")
async def test_each_who_waits_gets_a_refusal_of_its_own_and_the_next_attempt_is_fresh():
    settings = limits(token_wait=0.3, backoff=Span(min=0.1, max=0.1))
    async with (
        AuthorizationServer(default=respond(500)) as server,
        kept(connection_to(server), limits=settings) as keeper,
    ):
        ends = await asyncio.gather(*await waiting(keeper, 50), return_exceptions=True)

        assert len({id(end) for end in ends}) == 50
        assert {(end.problem.code, end.problem.status) for end in ends} == {("token_unavailable", 503)}
        server.default = token("fresh")
        assert await token_of(keeper) == "fresh"


@pytest.mark.case("R-365")
async def test_a_token_is_renewed_once_in_the_background_while_the_old_one_serves():
    clock, gate = PushedClock(), asyncio.Event()
    async with AuthorizationServer(expires_in=100) as server, kept(connection_to(server), clock=clock) as keeper:
        assert await token_of(keeper) == "token-1"
        server.script(when(gate, token("renewed")))
        clock.push(61)

        assert {keeper.take().value.reveal() for _ in range(1000)} == {"token-1"}
        await server.was_asked(2)
        assert {keeper.take().value.reveal() for _ in range(1000)} == {"token-1"}
        assert keeper.snapshot().state is State.DUE
        gate.set()
        await eventually("the renewed token", lambda: keeper.take().value.reveal() == "renewed")
        assert server.T == 2


async def test_a_used_token_is_renewed_by_the_clock_alone():
    async with AuthorizationServer(expires_in=1) as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)
        keeper.take()

        await server.was_asked(2)

        assert server.T == 2


async def test_a_use_counts_for_one_renewal_only():
    async with AuthorizationServer(expires_in=1) as server, kept(connection_to(server)) as keeper:
        await keeper.renew()
        keeper.take()
        await server.was_asked(2)
        await eventually("the end of the second token", lambda: keeper.snapshot().state is State.EXPIRED)

        assert server.T == 2


async def test_an_unused_token_is_left_to_expire():
    clock = PushedClock()
    async with AuthorizationServer(expires_in=100) as server, kept(connection_to(server), clock=clock) as keeper:
        await keeper.renew()
        clock.push(200)

        assert keeper.snapshot().state is State.EXPIRED
        assert server.T == 1


@pytest.mark.case("R-366")
async def test_requests_do_not_notice_an_outage_that_ends_before_the_token_does():
    clock = PushedClock()
    async with AuthorizationServer(expires_in=100) as server, kept(connection_to(server), clock=clock) as keeper:
        await token_of(keeper)
        server.default = respond(503)
        clock.push(65)
        for asked in range(2, 6):
            assert keeper.take().value.reveal() == "token-1"
            await server.was_asked(asked)
        server.default = token("back")
        clock.push(26)

        assert await token_of(keeper) == "back"


@pytest.mark.case("R-367", "T-51")
async def test_an_expired_token_is_never_sent_and_requests_wait_their_time_in_an_outage():
    clock = PushedClock()
    async with (
        AuthorizationServer(expires_in=100) as server,
        kept(connection_to(server), clock=clock, limits=IMPATIENT) as keeper,
    ):
        await token_of(keeper)
        server.default = respond(500)
        clock.push(91)

        assert keeper.take() is None
        refusal = await unavailable(keeper)
        assert refusal.problem.code == "token_unavailable"
        assert 0 <= refusal.retry_after <= 1
        assert keeper.snapshot().state is State.BACKOFF


@pytest.mark.case("R-368")
async def test_thousands_of_refusals_of_one_token_make_one_renewal():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)
        old = keeper.take()

        assert {keeper.refused(old) for _ in range(5000)} == {Refused.RETRY}
        async with awaiting("all new tokens"):
            tokens = await asyncio.gather(*await waiting(keeper, 5000))

        assert {found.value.reveal() for found in tokens} == {"token-2"}
        assert keeper.refused(old) is Refused.RETRY
        assert keeper.take().value.reveal() == "token-2"
        assert server.T == 2


@pytest.mark.case("R-369")
async def test_two_connections_of_one_iclient_have_nothing_in_common():
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, "one")) as one,
        kept(connection_to(server, "two", written={"scopes": ("x",)}), limits=IMPATIENT) as two,
    ):
        assert await token_of(one) == "token-1"
        server.default = error("invalid_client", 401)
        assert (await unavailable(two)).problem.code == "client_rejected"

        assert one.take().value.reveal() == "token-1"
        assert (one.snapshot().state, two.snapshot().state) == (State.VALID, State.BRAKED)
        assert [asked.form.get("scope") for asked in server.asked] == [None, "x"]


async def test_a_token_request_has_a_stream_of_its_own_and_all_are_closed():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(connection_to(server), clock=clock) as keeper:
        for _ in range(3):
            await keeper.renew()
        await server.is_quiet()

        assert server.streams == server.T == 3


# ------------------------------------------------------------------------------------------------------------- refresh


def rotating(number):
    return token(f"t{number}", refresh_token=f"r{number}")


@pytest.mark.case("R-374")
async def test_a_rotated_refresh_token_is_used_from_then_on_and_the_old_one_never_again():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(*(rotating(number) for number in range(4)))
        for _ in range(4):
            await keeper.renew()

        assert [asked.form["grant_type"] for asked in server.asked] == ["client_credentials", *["refresh_token"] * 3]
        assert [asked.form.get("refresh_token") for asked in server.asked] == [None, "r0", "r1", "r2"]
        assert "scope" not in server.asked[1].form
        assert keeper.counters.requests["refresh_token", "ok"] == 3


@pytest.mark.case("R-372", "R-373")
@pytest.mark.parametrize("fields", [{}, {"refresh_token": ""}])
async def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(fields):
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(rotating(0), token("t1", **fields), say(200, {"access_token": "t2", "refresh_token": None}))
        for _ in range(4):
            await keeper.renew()

        assert [asked.form.get("refresh_token") for asked in server.asked] == [None, "r0", "r0", "r0"]


@pytest.mark.case("T-60")
@pytest.mark.parametrize("grant", ["client_credentials", "password"])
async def test_a_lost_refresh_token_makes_the_grant_run_again_in_the_same_renewal(grant):
    written = {"username": "ann", "password": Secret("canary-password")}
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, written=written, grant_type=grant)) as keeper,
    ):
        server.script(rotating(0), error("invalid_grant"), token("again"))
        await keeper.renew()
        await keeper.renew()
        assert await token_of(keeper) == "again"
        await keeper.renew()

        assert [asked.form["grant_type"] for asked in server.asked] == [grant, "refresh_token", grant, grant]
        assert keeper.counters.requests["refresh_token", "invalid_grant"] == 1


@pytest.mark.parametrize("fault", [respond(503), respond(200, b"<html>")])
async def test_a_fault_of_the_endpoint_never_costs_the_refresh_token(fault):
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(rotating(0), fault, token("t1"))
        await keeper.renew()
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        await server.was_asked(3)

        assert [asked.form.get("refresh_token") for asked in server.asked] == [None, "r0", "r0"]


@pytest.mark.case("R-371", "T-56")
async def test_a_refresh_whose_answer_is_lost_is_tried_once_more_at_once():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(rotating(0), raw(End.RESET), raw(End.RESET), rotating(1))
        await keeper.renew()
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        assert server.T == 3
        await server.was_asked(4)

        assert [asked.form.get("refresh_token") for asked in server.asked] == [None, "r0", "r0", "r0"]


async def test_an_idle_grant_is_kept_alive():
    async with AuthorizationServer() as server, kept(connection_to(server, keep_alive=0.1)) as keeper:
        server.script(rotating(0), rotating(1))
        await keeper.renew()

        await server.was_asked(2)

        assert server.asked[1].form["refresh_token"] == "r0"


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.case("T-66")
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_one_server_error_costs_a_back_off_and_nobody_notices(status):
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(respond(status))
        async with awaiting("all tokens"):
            tokens = await asyncio.gather(*await waiting(keeper, 100))

        assert {found.value.reveal() for found in tokens} == {"token-2"}
        assert server.T == 2
        assert keeper.counters.requests["client_credentials", "other_error"] == 1


@pytest.mark.case("T-67")
async def test_an_endpoint_that_fails_is_not_asked_for_each_request_that_waits():
    settings = limits(token_wait=0.5, backoff=Span(min=0.2, max=0.2))
    async with (
        AuthorizationServer(default=respond(500)) as server,
        kept(connection_to(server), limits=settings) as keeper,
    ):
        ends = await asyncio.gather(*await waiting(keeper, 500), return_exceptions=True)

        assert {end.problem.code for end in ends} == {"token_unavailable"}
        # Pauses of 0.1 to 0.2 s within half a second.
        assert 2 <= server.T <= 6


@pytest.mark.case("T-54", "T-56", "T-57", "T-69", "T-75", "T-78", "T-79", "T-81", "T-90")
@pytest.mark.parametrize(
    ("answer", "outcome", "code", "problem"),
    [
        (raw(End.STALL), "timeout", "token_endpoint_timeout", "token_unavailable"),
        (raw(End.RESET), "transport", "token_endpoint_reset", "token_unavailable"),
        (
            raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"access_token": "t"}', End.CLOSE),
            "malformed",
            "token_response_incomplete",
            "token_unavailable",
        ),
        (respond(200, b"<html>", "text/html"), "malformed", "token_response_not_json", "token_unavailable"),
        (
            respond(302, location="https://evil.example/x"),
            "other_error",
            "token_endpoint_redirect",
            "token_endpoint_redirect",
        ),
        (respond(200), "malformed", "token_response_empty", "token_unavailable"),
        (say(200, {}), "malformed", "token_missing", "token_unavailable"),
        (token("a\r\nX: y"), "malformed", "token_malformed", "token_unavailable"),
        (token(token_type="DPoP"), "malformed", "token_type_unsupported", "client_rejected"),
        (error("temporarily_unavailable", 400), "other_error", "token_error_other", "token_unavailable"),
    ],
)
async def test_a_fault_is_told_to_requests_operators_and_metrics(answer, outcome, code, problem):
    settings = limits(token_wait=0.3, token_total=0.2)
    async with AuthorizationServer(default=answer) as server, kept(connection_to(server), limits=settings) as keeper:
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        refusal = await unavailable(keeper)

        assert refusal.problem.code == problem
        assert code in refusal.detail
        assert "evil" not in refusal.detail
        assert keeper.snapshot().last_error == code
        assert keeper.snapshot().next_action in {NextAction.RETRY, NextAction.RENEWING}
        requests = keeper.counters.requests
        assert requests["client_credentials", outcome] >= 1
        assert sum(requests.values()) == requests["client_credentials", outcome]
        server.default = token("back")
        with suppress(TokenUnavailable):
            await keeper.renew()  # that may be the attempt under way
        await keeper.renew()
        assert await token_of(keeper) == "back"
        assert keeper.snapshot().last_error is None


@pytest.mark.case("T-51", "T-53")
async def test_an_endpoint_that_can_not_be_reached_is_a_fault_like_others():
    class Nowhere:
        async def resolve(self, host, port):
            return await Resolver(lookup=lambda *_, **__: []).resolve(host, port)

    async with (
        AuthorizationServer() as server,
        kept(
            connection_to(server, token_url="https://auth.example.com/token", valid_domains=("example.com",)),
            limits=IMPATIENT,
            resolver=Nowhere(),
        ) as keeper,
    ):
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        assert (await unavailable(keeper)).problem.code == "token_unavailable"
        assert keeper.snapshot().last_error == "dns_error"
        assert keeper.counters.requests["client_credentials", "transport"] >= 1


async def test_a_url_outside_the_valid_domains_is_refused_at_once_and_nothing_is_sent():
    class Never:
        async def resolve(self, host, port):
            raise AssertionError(host)

    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, valid_domains=("example.com",)), resolver=Never()) as keeper,
    ):
        refusal = await unavailable(keeper)

        assert (refusal.problem.code, refusal.problem.status) == ("url_outside_valid_domains", 500)
        assert server.streams == 0
        assert sum(keeper.counters.requests.values()) == 0


@pytest.mark.case("T-64")
async def test_requests_fail_fast_when_the_server_asks_for_more_patience_than_they_have():
    async with (
        AuthorizationServer(default=respond(429, retry_after="30")) as server,
        kept(connection_to(server)) as keeper,
    ):
        ends = await asyncio.gather(*await waiting(keeper, 100), return_exceptions=True)
        assert {end.problem.code for end in ends} == {"token_unavailable"}
        assert all(29 < end.retry_after <= 33 for end in ends)

        for _ in range(10):
            assert (await unavailable(keeper)).retry_after > 29
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        assert server.T == 1
        assert keeper.counters.requests["client_credentials", "rate_limited"] == 1


@pytest.mark.case("T-65")
@pytest.mark.parametrize("written", ["banana", "-7", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_a_retry_after_that_asks_for_nothing_leaves_the_back_off_as_it_is(written):
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        server.script(respond(429, retry_after=written))

        assert await token_of(keeper) == "token-2"


@pytest.mark.case("T-65")
async def test_a_retry_after_of_years_is_five_minutes():
    async with (
        AuthorizationServer(default=respond(503, retry_after="1000000000")) as server,
        kept(connection_to(server)) as keeper,
    ):
        assert 299 < (await unavailable(keeper)).retry_after <= 330


@pytest.mark.case("T-62", "T-63")
@pytest.mark.parametrize(
    "code", ["invalid_client", "invalid_scope", "unauthorized_client", "unsupported_grant_type", "invalid_request"]
)
async def test_a_rejected_client_is_braked_and_requests_are_told_at_once(code):
    clock = PushedClock()
    async with AuthorizationServer(default=error(code)) as server, kept(connection_to(server), clock=clock) as keeper:
        for _ in range(10):
            refusal = await unavailable(keeper)
            assert refusal.problem.code == "client_rejected"
            assert 295 < round(refusal.retry_after, 3) <= 300
        assert server.T == 1
        assert keeper.snapshot().state is State.BRAKED
        assert keeper.snapshot().last_error == code

        clock.push(301)
        server.default = token("mended")
        assert await token_of(keeper) == "mended"


@pytest.mark.case("T-97")
async def test_a_rejected_password_is_sent_three_times_and_then_no_more():
    clock = PushedClock()
    written = {"username": "ann", "password": Secret("canary-password")}
    async with (
        AuthorizationServer(default=error("invalid_grant")) as server,
        kept(connection_to(server, grant_type="password", written=written), clock=clock) as keeper,
    ):
        for attempt in range(1, 6):
            refusal = await unavailable(keeper)
            assert refusal.problem.code == "client_rejected"
            assert min(attempt, 3) == server.T
            clock.push(301)

        assert refusal.retry_after is None
        assert keeper.snapshot().next_attempt_at is None


@pytest.mark.case("R-394")
async def test_tokens_that_expire_on_arrival_cost_one_request_a_step():
    settings = limits(token_wait=0.5, backoff=Span(min=0.2, max=0.2))
    stale = token(expires_in=None, expires_at=1)
    async with (
        AuthorizationServer(default=stale) as server,
        kept(connection_to(server, expires_in_path="expires_at", expires_in_unit="at"), limits=settings) as keeper,
    ):
        assert (await unavailable(keeper)).problem.code == "token_expired_on_arrival"
        assert keeper.take() is None
        assert 2 <= server.T <= 6


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.case("P-234", "R-395")
async def test_an_upstream_that_refuses_every_token_costs_one_renewal_in_a_cooldown():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(connection_to(server), clock=clock) as keeper:
        first = await keeper.wait()
        assert keeper.refused(first) is Refused.RETRY
        second = await keeper.wait()
        assert keeper.unproven
        assert keeper.refused(second, replayed=True) is Refused.RELAY
        for _ in range(100):
            assert keeper.refused(keeper.take()) is Refused.RELAY
        assert (server.T, keeper.snapshot().state) == (2, State.DISPUTED)

        clock.push(31)
        assert keeper.refused(keeper.take()) is Refused.RETRY
        third = await keeper.wait()
        assert keeper.refused(third, replayed=True) is Refused.RELAY
        assert server.T == 3
        clock.push(31)
        assert keeper.refused(third) is Refused.RELAY
        clock.push(30)
        assert keeper.refused(third) is Refused.RETRY


async def test_a_new_token_that_is_accepted_is_proven():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        assert not keeper.unproven
        keeper.refused(await keeper.wait())
        renewed = await keeper.wait()
        assert keeper.unproven
        keeper.accepted(renewed)

        assert not keeper.unproven
        assert keeper.refused(renewed) is Refused.RETRY
        assert (await keeper.wait()).value.reveal() == "token-3"


async def test_a_refusal_is_relayed_when_no_renewal_can_help():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        found = await keeper.wait()
        server.default = error("invalid_client", 401)
        with pytest.raises(TokenUnavailable):
            await keeper.renew()

        assert keeper.take() is found
        assert keeper.refused(found) is Refused.RELAY
        assert (await unavailable(keeper)).problem.code == "client_rejected"


# --------------------------------------------------------------------------------------------------- start, stop, look


async def test_the_first_token_comes_without_a_request():
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, written={"prefetch": True})) as keeper,
    ):
        assert (keeper.snapshot().state, keeper.snapshot().tried, keeper.snapshot().had_token) == (
            State.NONE,
            False,
            False,
        )
        keeper.start()
        await server.was_asked(1)

        assert await token_of(keeper) == "token-1"
        assert (server.T, keeper.snapshot().tried, keeper.snapshot().had_token) == (1, True, True)


async def test_a_look_before_the_prefetch_does_not_put_it_off():
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, written={"prefetch": True})) as keeper,
    ):
        keeper.start()
        assert keeper.take() is None

        await server.was_asked(1)

        assert server.T == 1


async def test_a_request_does_not_wait_for_the_prefetch():
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server, written={"prefetch": True}), prefetch=1000.0) as keeper,
    ):
        keeper.start()

        assert await token_of(keeper) == "token-1"


async def test_without_prefetch_nothing_is_asked_for():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        keeper.start()
        await asyncio.sleep(0)

        assert (server.streams, keeper.snapshot().next_action) == (0, NextAction.NOTHING)


async def test_closing_ends_the_renewal_and_tells_those_who_wait():
    async with AuthorizationServer(default=raw(End.STALL)) as server, kept(connection_to(server)) as keeper:
        tasks = await waiting(keeper, 10)
        asking = asyncio.create_task(keeper.renew(), name="operator")
        await server.was_asked(1)
        await keeper.close()
        async with awaiting("those who wait"):
            ends = await asyncio.gather(*tasks, asking, return_exceptions=True)

        assert {end.problem.code for end in ends} == {"token_unavailable"}
        assert (await unavailable(keeper)).problem.code == "token_unavailable"
        await server.is_quiet()
        assert server.T == 1
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("renewal:")]


async def test_a_snapshot_says_when_the_token_expires_and_what_comes_next():
    clock = PushedClock()
    async with AuthorizationServer(expires_in=1000) as server, kept(connection_to(server), clock=clock) as keeper:
        await token_of(keeper)
        now = clock.wall()
        seen = keeper.snapshot()

        assert (seen.state, seen.next_action) == (State.VALID, NextAction.RENEW)
        assert seen.expires_at == pytest.approx(now + 1000, abs=5)
        assert now + 555 < seen.next_attempt_at < now + 605
        assert seen.last_renewal_at == pytest.approx(now, abs=5)


async def test_the_token_of_unknown_life_has_no_expiry():
    async with AuthorizationServer(expires_in=None) as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)

        assert (keeper.snapshot().state, keeper.snapshot().expires_at) == (State.VALID, None)
        assert keeper.snapshot().next_attempt_at is None


@pytest.mark.case("R-391", "R-392")
async def test_a_wall_clock_far_ahead_retires_the_token_before_it_is_sent():
    clock = PushedClock()
    async with AuthorizationServer() as server, kept(connection_to(server), clock=clock) as keeper:
        await token_of(keeper)
        clock.wall_ahead += 86400

        assert keeper.take() is None
        assert await token_of(keeper) == "token-2"
        assert await token_of(keeper) == "token-2"
        assert server.T == 2


async def test_an_operator_renews_a_good_token():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        await token_of(keeper)
        async with awaiting("two renewals at once"):
            await asyncio.gather(keeper.renew(), keeper.renew())

        assert (server.T, keeper.take().value.reveal()) == (2, "token-2")


# ----------------------------------------------------------------------------------------------------------- log lines


async def renewal_lines(connection, **settings):
    with structlog.testing.capture_logs() as lines:
        async with kept(connection, limits=IMPATIENT, **settings) as keeper:
            for _ in range(2):
                try:
                    await keeper.renew()
                except TokenUnavailable:
                    break
    assert all("canary" not in str(line) for line in lines)
    return lines


async def test_a_renewal_is_one_line():
    async with AuthorizationServer() as server:
        first, second = await renewal_lines(connection_to(server))

    assert first.pop("ms") >= 0
    assert first == {
        "event": "renewal",
        "log_level": "info",
        "connection": "crm",
        "grant": "client_credentials",
        "requests": 1,
        "outcome": "ok",
        "expires_in": 3600.0,
    }
    assert second["event"] == "renewal"


@pytest.mark.case("T-69")
async def test_a_login_page_is_described_in_the_line_and_not_quoted():
    page = b"<html>canary-page</html>"
    async with AuthorizationServer(default=respond(200, page, "text/html")) as server:
        line = (await renewal_lines(connection_to(server)))[0]

    assert (line["log_level"], line["outcome"], line["code"]) == ("warning", "malformed", "token_response_not_json")
    assert (line["status"], line["content_type"], line["length"]) == (200, "text/html", len(page))
    assert len(line["sha256"]) == 12
    assert "next_attempt_in" in line


@pytest.mark.case("T-90", "T-86")
async def test_an_oddity_is_warned_of_once():
    async with AuthorizationServer(default=token(token_type="bot", expires_in="never")) as server:
        first, second = await renewal_lines(connection_to(server))

    assert (first["log_level"], second["log_level"]) == ("warning", "info")
    assert first["anomalies"] == ["token_type_odd", "expires_in_unreadable"]


async def test_a_lost_refresh_token_is_told():
    async with AuthorizationServer() as server:
        server.script(rotating(0), error("invalid_grant"))
        line = (await renewal_lines(connection_to(server)))[1]

    assert (line["refresh_token_lost"], line["requests"], line["grant"]) == ("invalid_grant", 2, "client_credentials")


async def test_what_a_server_says_is_told_in_plain_characters():
    async with AuthorizationServer(
        default=say(400, {"error": "odd\x1b[2J", "error_description": "told\nso"})
    ) as server:
        line = (await renewal_lines(connection_to(server)))[0]

    assert line["said"] == "odd[2J: toldso"


async def test_a_mistake_of_ours_leaves_nobody_waiting():
    class Broken:
        async def resolve(self, host, port):
            raise ZeroDivisionError

    async with AuthorizationServer() as server:
        connection = connection_to(server, token_url="https://auth.example.com/token", valid_domains=("example.com",))
        line = (await renewal_lines(connection, resolver=Broken()))[0]

    assert (line["log_level"], line["error"], line["outcome"]) == ("error", "ZeroDivisionError", "internal")


async def test_the_counters_are_all_there_from_the_start():
    async with AuthorizationServer() as server, kept(connection_to(server)) as keeper:
        assert len(keeper.counters.requests) == 16
        assert set(keeper.counters.requests.values()) == {0}
        assert keeper.counters.duration.counts == [0] * (len(keeper.counters.duration.bounds) + 1)
        assert math.isclose(keeper.counters.duration.total, 0.0)


@pytest.mark.case("T-96")
async def test_a_client_that_is_refused_in_the_header_is_not_tried_in_the_body():
    async with (
        AuthorizationServer(default=error("invalid_client", 401)) as server,
        kept(connection_to(server)) as keeper,
    ):
        for _ in range(2):
            with pytest.raises(TokenUnavailable):
                await keeper.renew()

        assert [(asked.basic, asked.form) for asked in server.asked] == [
            ("app:canary-secret", {"grant_type": "client_credentials"})
        ] * 2


@pytest.mark.case("T-402")
@pytest.mark.parametrize(("certificate", "told"), [(None, 1), ("-----BEGIN CERTIFICATE-----", 0)])
async def test_a_token_that_may_be_bound_to_a_certificate_is_refused_with_one_hint(certificate, told):
    written = {"tls": Tls(client_cert=certificate)}
    async with AuthorizationServer() as server:
        connection = connection_to(server, written=written, client_auth="tls_client_auth", client_secret=None)
        with structlog.testing.capture_logs() as lines:
            async with kept(connection) as keeper:
                for _ in range(2):
                    await token_of(keeper)
                    keeper.refused(keeper.take())

    assert len([line for line in lines if "tls.client_cert" in line.get("hint", "")]) == told
