"""Authorization servers whose names nobody answers for: they cost those that can be found nothing."""

import asyncio
import socket
import threading
from contextlib import AsyncExitStack

import pytest

from proxy.definitions.templates.urls import compile_url
from proxy.errors import TokenUnavailable
from proxy.outbound.resolve import Resolver
from tests.support.authorization_server import AuthorizationServer
from tests.support.deadline import awaiting
from tests.tokens.kept import PushedClock, connection_to, kept, limits, token_of, waiting

DEAD = 40


@pytest.fixture
def released():
    """An event that ends every lookup that stalls."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.case("T-53")
async def test_forty_dead_names_stall_nobody_whose_name_is_answered_for(released):
    def lookup(host, port, **_):
        if host.startswith("dead"):
            released.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody knows")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    resolver = Resolver(lookup=lookup, stalled=0.1)
    clock = PushedClock()
    async with AuthorizationServer(expires_in=100) as server, AsyncExitStack() as after:

        async def keeper_at(host):
            url = compile_url(f"http://{host}:{server.port}/token")
            connection = connection_to(server, host, token_url=url, valid_domains=(f"{host}:{server.port}",))
            settings = limits(token_wait=3.0)
            return await after.enter_async_context(kept(connection, resolver=resolver, limits=settings, clock=clock))

        dead = [await keeper_at(f"dead{number}.example") for number in range(DEAD)]
        living = await keeper_at("living.example")
        refused = [task for keeper in dead for task in await waiting(keeper, 1)]

        async with awaiting("the first token", 3):
            assert await token_of(living) == "token-1"
        for number in range(2, 12):
            clock.push(95)
            async with awaiting(f"token {number}", 3):
                assert await token_of(living) == f"token-{number}"
        assert not any(task.done() and task.exception() is None for task in refused)
        ends = await asyncio.gather(*refused, return_exceptions=True)
        assert {type(end) for end in ends} == {TokenUnavailable}
        assert {keeper.snapshot().last_error for keeper in dead} <= {"dns_timeout", None}
        assert server.T == 11
