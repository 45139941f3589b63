"""The line in which retries of all connections wait: how fast it moves, who goes first, who leaves it."""

import asyncio
import contextlib

import pytest

from proxy.errors import TokenUnavailable
from proxy.tokens.retries import Retries
from proxy.tokens.snapshot import NextAction
from tests.support.authorization_server import AuthorizationServer, respond, token
from tests.support.deadline import awaiting, eventually
from tests.support.fake_time import FakeTime
from tests.tokens.kept import PushedClock, connection_to, kept, limits, token_of, waiting

IMPATIENT = limits(token_wait=0.3)


@pytest.fixture
def time():
    with contextlib.closing(FakeTime()) as fake:
        yield fake


@pytest.mark.case("T-408")
def test_a_thousand_retries_at_once_are_spread_over_a_minute(time):
    retries = Retries(time.monotonic)
    began = []

    async def all_at_once():
        for _ in range(1000):
            retries.turn(1).add_done_callback(lambda _: began.append(time.now))

    time.run(all_at_once())
    while len(began) < 1000:
        time.to_next_timer()

    assert time.now - began[0] < 65
    assert max(sum(first <= other < first + 1 for other in began) for first in began) <= 20


@pytest.mark.case("T-408")
def test_who_failed_less_often_goes_first_and_equals_in_the_order_in_which_they_came(time):
    retries = Retries(time.monotonic)
    began = []

    async def all_at_once():
        for number, failures in enumerate([9, 9, 3, 9, 1, 3]):
            retries.turn(failures).add_done_callback(lambda _, who=number: began.append(who))

    time.run(all_at_once())
    while len(began) < 6:
        time.to_next_timer()

    assert began == [0, 4, 2, 5, 1, 3]  # the first one did not have to wait


@pytest.mark.case("T-408")
def test_who_leaves_or_can_not_wait_takes_nobodys_turn(time):
    retries = Retries(time.monotonic, gap=1.0)

    async def four():
        return [retries.turn(1) for _ in range(4)]

    _, left, hurried, last = time.run(four())
    left.cancel()
    hurried.set_result(None)
    time.advance(1.001)

    assert last.done()


def blocked_by(clock):
    """Return a line that does not move any more."""
    retries = Retries(clock.monotonic, gap=1e6)
    retries.turn(0)
    return retries


@pytest.mark.case("T-408")
async def test_a_first_attempt_a_renewal_ahead_and_an_operator_do_not_wait_in_line():
    clock = PushedClock()
    async with (
        AuthorizationServer(expires_in=100) as server,
        kept(connection_to(server), clock=clock, limits=IMPATIENT, retries=blocked_by(clock)) as keeper,
    ):
        assert await token_of(keeper) == "token-1"
        clock.push(61)
        keeper.take()
        await eventually("the renewed token", lambda: keeper.take().value.reveal() == "token-2")
        server.script(respond(503), token("by-hand"))
        with pytest.raises(TokenUnavailable):
            await keeper.renew()
        async with awaiting("an operator's renewal"):
            await keeper.renew()

        assert await token_of(keeper) == "by-hand"
        assert server.T == 4


@pytest.mark.case("T-408")
async def test_a_retry_waits_in_line_until_an_operator_asks_for_it():
    clock = PushedClock()
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server), clock=clock, limits=IMPATIENT, retries=blocked_by(clock)) as keeper,
    ):
        server.script(respond(503), token("by-hand"))
        [refused] = await asyncio.gather(*await waiting(keeper, 1), return_exceptions=True)
        assert refused.problem.code == "token_unavailable"
        assert (server.T, keeper.snapshot().next_action) == (1, NextAction.RENEWING)
        async with awaiting("an operator's renewal"):
            await keeper.renew()

        assert await token_of(keeper) == "by-hand"
        assert server.T == 2


@pytest.mark.case("T-408")
async def test_what_waits_in_line_when_the_tokens_are_given_back_never_asks():
    clock = PushedClock()
    async with (
        AuthorizationServer() as server,
        kept(connection_to(server), clock=clock, limits=IMPATIENT, retries=blocked_by(clock)) as keeper,
    ):
        server.script(respond(503), token("afterwards"))
        await asyncio.gather(*await waiting(keeper, 1), return_exceptions=True)
        await keeper.revoke()

        assert await token_of(keeper) == "afterwards"
        assert server.T == 2


@pytest.mark.case("T-408")
async def test_who_closes_does_not_wait_for_a_turn():
    clock = PushedClock()
    async with (
        AuthorizationServer(default=respond(503)) as server,
        kept(connection_to(server), clock=clock, limits=IMPATIENT, retries=blocked_by(clock)) as keeper,
    ):
        await asyncio.gather(*await waiting(keeper, 1), return_exceptions=True)
        async with awaiting("the end"):
            await keeper.close()

        assert server.T == 1
