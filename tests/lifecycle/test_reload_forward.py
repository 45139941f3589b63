"""A reload keeps the forward listener and its streams; whose a request is may change from one to the next."""

from __future__ import annotations

import asyncio
import base64
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.test_reload import scene as scene  # noqa: PLC0414 a fixture
from tests.support.client import Client
from tests.support.deadline import awaiting
from tests.support.scripts import replies, response

if TYPE_CHECKING:
    from tests.lifecycle.test_reload import Open, Scene
    from tests.support.stage import Case

LISTENERS = {
    "reverse": {"bind": "127.0.0.1:0"},
    "forward": {"bind": "127.0.0.1:0"},
    "admin": {"bind": "127.0.0.1:0"},
}
GOOD = b"Proxy-Authorization: Basic " + base64.b64encode(b"app:canary-password")


def request(case: Case, *fields: bytes, host: bytes = b"127.0.0.1") -> bytes:
    return case.raw(b"GET http://%s:%d/x HTTP/1.1" % (host, case.upstream.port), b"Host: x", *fields)


def with_forward(on: Scene, **settings: Any) -> dict[str, Any]:
    """Return the definitions with these settings of the forward listener."""
    definitions = deepcopy(on.definitions)
    definitions["allow_inline_secrets"] = True
    definitions["listeners"]["forward"].update(settings)
    return definitions


async def application(on: Scene, which: int = 0) -> Client:
    await on.process.until_listening("forward")
    return await on.connect(on.process.listening["forward"][which])


async def test_a_connection_that_stays_keeps_its_token_and_its_streams(scene: Open):
    on = await scene(listeners=LISTENERS)
    client = await application(on)
    assert (await client.ask(request(on.c0))).status == 200
    await on.reload(on.changed("c1", headers={"X-Version": "2"}))
    assert (await client.ask(request(on.c0))).status == 200
    assert (on.c0.token_requests, len(on.c0.upstream.streams)) == (1, 1)
    assert (await client.ask(request(on.c1))).status == 200
    assert on.c1.upstream.requests[-1].values(b"x-version") == [b"2"]


async def test_claims_go_and_come_on_a_stream_that_stays_open(scene: Open):
    on = await scene(listeners=LISTENERS)
    client = await application(on)
    assert (await client.ask(request(on.c0))).status == 200
    assert on.c0.upstream.requests[-1].token == on.c0.token()
    [upstream] = on.c0.upstream.streams
    await on.reload(on.changed("c0", hosts=[]))
    async with awaiting("the end of an idle stream of the claim that is gone"):
        await upstream.lost.wait()
    assert (await client.ask(request(on.c0))).status == 200
    assert on.c0.upstream.requests[-1].values(b"authorization") == []
    await on.reload(on.changed("c0", hosts=["localhost"]))
    assert (await client.ask(request(on.c0, host=b"localhost"))).status == 200
    assert on.c0.upstream.requests[-1].values(b"authorization") != []
    await on.reload(on.definitions)
    assert (await client.ask(request(on.c0))).status == 200
    assert on.c0.upstream.requests[-1].values(b"authorization") != []


async def test_a_request_under_way_is_served_while_its_connection_goes(scene: Open):
    on = await scene(listeners=LISTENERS)
    client = await application(on)
    gate = asyncio.Event()
    on.c0.upstream.answers(replies(gate, response(b"late")))
    await client.send(request(on.c0))
    await on.c0.upstream.arrived(1)
    await on.reload(on.without("c0"))
    gate.set()
    assert (await client.response()).body == b"late"
    assert (await client.ask(request(on.c1))).status == 200


async def test_a_new_credential_is_asked_for_on_streams_that_are_open(scene: Open):
    on = await scene(listeners=LISTENERS)
    client = await application(on)
    assert (await client.ask(request(on.c0))).status == 200
    await on.reload(with_forward(on, proxy_auth={"username": "app", "password": "canary-password"}))
    refused = await client.ask(request(on.c0))
    assert (refused.status, refused.code) == (407, "proxy_auth_required")
    assert (await client.ask(request(on.c0, GOOD))).status == 200
    await on.reload(with_forward(on, proxy_auth={"username": "app", "password": "canary-another"}))
    assert (await client.ask(request(on.c0, GOOD))).status == 407


async def test_what_is_denied_or_rejected_from_now_on_is_so_on_open_streams(scene: Open):
    on = await scene(listeners=LISTENERS)
    client = await application(on)
    unclaimed = request(on.c0, host=b"localhost")
    assert (await client.ask(unclaimed)).status == 200
    await on.reload(with_forward(on, unclaimed="reject"))
    assert (await client.ask(unclaimed)).code == "unclaimed_host"
    await on.reload(on.definitions)
    assert (await client.ask(unclaimed)).status == 200


async def test_it_opens_moves_and_closes_without_cutting_what_is_under_way(scene: Open):
    on = await scene()
    opened = deepcopy(on.definitions)
    opened["listeners"]["forward"] = {"bind": "127.0.0.1:0"}
    await on.reload(opened)
    client, idle = await application(on), await application(on)
    for each in (client, idle):
        assert (await each.ask(request(on.c0))).status == 200
    tunnel = await application(on)
    await tunnel.send(on.c0.raw(b"CONNECT 127.0.0.1:%d HTTP/1.1" % on.c0.upstream.port, b"Host: x"))
    assert (await tunnel.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    gate = asyncio.Event()
    on.c0.upstream.answers(replies(gate, response(b"late")))
    await client.send(request(on.c0))
    await on.c0.upstream.arrived(3)
    await on.reload(on.definitions)
    with pytest.raises(ConnectionRefusedError):
        await application(on)
    assert await idle.is_closed()
    gate.set()
    assert (await client.response()).body == b"late"
    assert await client.is_closed()
    assert (await tunnel.ask(on.c0.raw(b"GET /t HTTP/1.1", b"Host: a"))).status == 200
