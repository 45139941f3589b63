"""Streams that stay open: their token expires, others get newer ones, and they go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.nightly.sse import streams
from tests.support.deadline import eventually
from tests.support.scripts import replies, tunnels

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPGRADE = (
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def lives_a_second(case: Case) -> None:
    case.stage.tokens.members[case.name] = {"expires_in": 1}


async def until_expired(case: Case) -> None:
    """Ask on other streams until the second successor of the first token goes along: the first one is long over."""

    async def twice_renewed() -> bool:
        assert (await case.ask(case.request(target=b"/other"))).status == 200
        return case.upstream.requests[-1].token not in {case.token(1), case.token(2)}

    await eventually("a third token", twice_renewed)


@pytest.mark.case("W-277")
async def test_a_websocket_goes_on_when_its_token_expires(case: Case):
    lives_a_second(case)
    case.upstream.answers(tunnels())
    client = await case.connect()
    await client.send(case.request(*UPGRADE, target=b"/socket"))
    assert (await client.response(upgrade=True)).status == 101
    await client.send(b"before")
    assert await client.read_exactly(6) == b"before"

    await until_expired(case)
    await client.send(b"after")

    assert await client.read_exactly(5) == b"after"
    [socket] = [request for request in case.upstream.requests if request.target == b"/socket"]
    assert socket.token == case.token(1)


@pytest.mark.case("W-277")
async def test_a_stream_of_events_goes_on_when_its_token_expires(case: Case):
    lives_a_second(case)
    gate = asyncio.Event()
    one, two = chunk(b"data: one\n\n"), chunk(b"data: two\n\n")
    case.upstream.answers(replies(EVENTS + one, gate, two + b"0\r\n\r\n"))
    client = await case.connect()
    await client.send(case.request(target=b"/events"))
    await client.read_until(one)

    await until_expired(case)
    gate.set()

    assert await client.read_until(b"0\r\n\r\n") == two + b"0\r\n\r\n"
    assert [request.token for request in case.upstream.requests if request.target == b"/events"] == [case.token(1)]


@pytest.mark.case("W-279", "P-244")
async def test_many_streams_of_events_get_each_of_them_in_its_order(tmp_path: Path):
    found = await streams(tmp_path, clients=40, events=6, pause=0.1)

    assert found.got == [6] * 40
    assert found.wrong == 0
