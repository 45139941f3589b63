"""A keeper over a real authorization server, with limits small enough to wait for, and a clock that tests push."""

import asyncio
import dataclasses
import random
import time
from contextlib import asynccontextmanager

from proxy.definitions.models import Connection, IClient
from proxy.definitions.settings import Limits, Span
from proxy.definitions.templates.placeholders import literal
from proxy.definitions.templates.urls import compile_url
from proxy.outbound.resolve import Resolver
from proxy.runtime.keepers import keeper_for
from proxy.secret import Secret
from tests.support.deadline import awaiting

LIMITS = Limits(
    token_wait=10.0,
    token_connect=2.0,
    token_total=5.0,
    backoff=Span(min=0.02, max=0.05),
    brake=300.0,
    cooldown=Span(min=30.0, max=600.0),
)


class PushedClock:
    """The machine's clock, ahead of itself by what a test pushed it."""

    def __init__(self):
        self.ahead = self.wall_ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead

    def wall(self):
        return time.time() + self.wall_ahead

    def push(self, seconds):
        self.ahead += seconds
        self.wall_ahead += seconds


def connection_to(server, name="crm", *, written=None, **client):
    settings = {
        "name": "acme",
        "client_id": literal("app"),
        "client_secret": Secret("canary-secret"),
        "grant_type": "client_credentials",
        "client_auth": "client_secret_basic",
        "token_url": compile_url(server.url),
        "valid_domains": (server.authority,),
        "allow_insecure": True,
    }
    return Connection(
        **{"name": name, "base_url": "https://api.example.com", "prefetch": False, **(written or {})},
        iclient=IClient(**{**settings, **client}),
    )


def limits(**settings):
    return dataclasses.replace(LIMITS, **settings)


@asynccontextmanager
async def kept(connection, *, limits=LIMITS, clock=None, seed=1, resolver=None, prefetch=0.05, **shared):
    keeper = keeper_for(
        connection,
        limits,
        clock=clock or PushedClock(),
        random=random.Random(seed),
        resolver=resolver or Resolver(),
        prefetch=prefetch,
        **shared,
    )
    try:
        yield keeper
    finally:
        await keeper.close()


async def token_of(keeper):
    """Return the text of the token as a request gets it: at once, or by waiting."""
    token = keeper.take()
    if token is None:
        async with awaiting("a token"):
            token = await keeper.wait()
    return token.value.reveal()


async def waiting(keeper, number):
    """Return tasks that wait for a token, and have begun to."""
    tasks = [asyncio.create_task(keeper.wait(), name=f"waiter {n}") for n in range(number)]
    await asyncio.sleep(0)
    return tasks


async def asking(keeper, server):
    """Return a task that waits for a token, once the server has been asked for the first time."""
    [task] = await waiting(keeper, 1)
    await server.was_asked(1)
    return task
