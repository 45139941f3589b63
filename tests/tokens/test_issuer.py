"""What one renewal asks for and stores, with an endpoint and a store that are watched."""

import asyncio
import json

from proxy.oauth.grant import Grant
from proxy.oauth.response import EndpointAnswer
from proxy.secret import Secret
from proxy.tokens.correspondence import Sources
from proxy.tokens.discovery import Discovery
from proxy.tokens.issuer import Issuer
from proxy.tokens.keeper import Keeper
from proxy.tokens.retries import Retries
from proxy.tokens.store.memory import MemoryStore
from proxy.tokens.stored import Stored
from tests.oauth.answers import connection, iclient, token_of
from tests.support.deadline import awaiting
from tests.tokens.kept import PushedClock
from tests.tokens.lives import POLICY


class Endpoint:
    """Answers with these fields in turn."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def send(self, request):
        self.requests.append(request)
        status, fields = self.answers.pop(0)
        return EndpointAnswer(status, (("content-type", "application/json"),), json.dumps(fields).encode())


class WatchedStore(MemoryStore):
    """Tells what was saved, `?` before a token whose use was only announced; a save lasts until `durable` is set."""

    def __init__(self):
        super().__init__()
        self.saved = []
        self.durable = asyncio.Event()
        self.durable.set()
        self.began = asyncio.Event()

    async def save(self, stored):
        self.began.set()
        token = stored.grant.refresh_token
        self.saved.append((stored.intent and "?") + token.reveal() if token is not None else None)
        await self.durable.wait()
        return await super().save(stored)


def issuer_with(endpoint, store):
    client, clock = iclient(), PushedClock()
    return Issuer(
        connection(client),
        client,
        endpoint=endpoint,
        discovery=Discovery(client, endpoint, clock, limit=1024),
        store=store,
        clock=clock,
        sources=Sources(lambda: 0.5, bytes, lambda: None),
        limit=1024,
        pause=0.01,
    )


def issued(number, refresh_token=None):
    fields = {"access_token": f"t{number}", "expires_in": 60}
    return 200, fields if refresh_token is None else {**fields, "refresh_token": refresh_token}


async def test_a_rotated_refresh_token_is_stored_before_its_access_token_is_used():
    store = WatchedStore()
    store.durable.clear()
    keeper = Keeper(
        "crm",
        issuer_with(Endpoint(issued(0, "r0")), store),
        POLICY,
        clock=PushedClock(),
        chance=lambda: 0.5,
        retries=Retries(PushedClock().monotonic),
        prefetch=None,
    )
    waiting = asyncio.create_task(keeper.wait(), name="waiting")
    async with awaiting("the store's work"):
        await store.began.wait()

    assert keeper.take() is None
    assert not waiting.done()
    store.durable.set()
    assert (await waiting).value.reveal() == "t0"
    await keeper.close()


async def test_a_refresh_token_is_stored_when_it_is_new_and_when_it_is_about_to_be_used():
    store = WatchedStore()
    issuer = issuer_with(Endpoint(issued(0, "r0"), issued(1, "r0"), issued(2), issued(3, "r1")), store)
    for _ in range(4):
        await issuer.renew()

    assert store.saved == ["r0", "?r0", "r0", "?r0", "r0", "?r0", "r1"]


async def test_a_lost_refresh_token_is_forgotten_even_if_the_grant_fails_then():
    store = WatchedStore()
    await store.save(Stored(1, Grant(refresh_token=Secret("r0"))))
    endpoint = Endpoint((400, {"error": "invalid_grant"}), (503, {}), issued(2))
    issuer = issuer_with(endpoint, store)

    failed = await issuer.renew()
    renewed = await issuer.renew()

    assert (failed.result.code, failed.lost, failed.requests, failed.refreshable) == (
        "token_server_error",
        "invalid_grant",
        2,
        False,
    )
    assert (token_of(renewed.result), renewed.requests) == ("t2", 1)
    assert [request.grant for request in endpoint.requests] == [
        "refresh_token",
        "client_credentials",
        "client_credentials",
    ]
