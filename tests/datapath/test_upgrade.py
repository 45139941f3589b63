"""Upgrades: the credential goes along, then the stream is a tunnel that nobody reads (RFC 9110 §7.8, RFC 6455)."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl

import pytest
import trustme

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually, slowly
from tests.support.scripts import OK_BODY, replies, response, tunnels, unauthorized
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = trustme.CA()
SETTINGS = {"limits": {"tunnel_idle": "1s"}}
ASKED = [
    b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Extensions: permessage-deflate",
]  # fmt: skip


async def upgraded(case: Case) -> Client:
    client = await case.connect()
    await client.send(case.request(*ASKED))
    answered = await client.response(upgrade=True)
    assert answered.status == 101
    assert answered.values(b"upgrade") == [b"websocket"]
    assert [value.lower() for value in answered.values(b"connection")] == [b"upgrade"]
    return client


@pytest.mark.case("W-271")
async def test_an_upgrade_carries_the_credential_and_becomes_a_tunnel(case: Case):
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    [request] = case.upstream.requests
    assert request.values(b"authorization") == [f"Bearer {case.token()}".encode()]
    assert [value.lower() for value in request.values(b"connection")] == [b"upgrade"]
    assert request.values(b"upgrade") == [b"websocket"]
    assert request.values(b"sec-websocket-extensions") == [b"permessage-deflate"]
    frames = random.Random(1).randbytes(300_000)
    sending = asyncio.create_task(client.send(frames))
    assert await client.read_exactly(len(frames)) == frames
    await sending


@pytest.mark.case("W-271")
async def test_what_looks_like_http_inside_a_tunnel_is_only_bytes(case: Case):
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    smuggled = case.request() + b"HTTP/1.1 200 OK\r\n\r\n"
    await client.send(smuggled)
    assert await client.read_exactly(len(smuggled)) == smuggled
    assert case.upstream_requests == 1


@pytest.mark.case("W-271")
@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_the_end_of_one_side_of_a_tunnel_ends_the_other(case: Case, first: str):
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    [request] = case.upstream.requests
    if first == "client":
        client.half_close()
        async with awaiting("the FIN at the upstream"):
            await request.gone()
        assert await client.is_closed()
    else:
        request.stream.transport.write_eof()
        assert await client.is_closed()
        client.half_close()
    await eventually("no open tunnel", lambda: _no_tunnel(case))
    assert case.upstream_requests == 1


@pytest.mark.case("W-271")
async def test_the_last_words_of_a_half_closed_tunnel_arrive(case: Case):
    async def last_words(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await request.gone()
        await request.send(b"goodbye")
        request.fin()

    case.upstream.answers(last_words)
    client = await upgraded(case)
    client.half_close()
    assert await client.read_rest() == b"goodbye"


def tls_of_the_upstream() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.case("W-271")
@pytest.mark.connection(base_url="https://localhost:PORT", tls={"ca": AUTHORITY.cert_pem.bytes().decode()})
@pytest.mark.parametrize("case", [pytest.param(tls_of_the_upstream(), id="tls")], indirect=True)
async def test_the_last_words_of_an_upstream_that_ends_its_tls_arrive(case: Case):
    words = random.Random(1).randbytes(1 << 19)  # the kernel takes it, the client does not yet

    async def says_goodbye(request: Request) -> None:
        request.finished = True
        transport = request.stream.transport
        await request.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", words
        )
        transport.close()  # close_notify, and a FIN right behind it, as most servers do
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    case.upstream.answers(says_goodbye)
    client = await case.connect(receive_buffer=4096)
    await client.send(case.request(*ASKED))
    await client.read_until(b"\r\n\r\n")
    assert await client.read_rest() == words
    assert not client.was_reset


@pytest.mark.case("W-271", "D-178")
async def test_a_reset_on_one_side_of_a_tunnel_ends_the_other(case: Case):
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    client.reset()
    async with awaiting("the end of the tunnel at the upstream"):
        await case.upstream.requests[0].stream.lost.wait()
    await eventually("no open tunnel", lambda: _no_tunnel(case))
    assert case.upstream_requests == 1


async def _no_tunnel(case: Case) -> bool:
    return await case.stage.process.metric("tunnels_open") == 0


@pytest.mark.case("W-272")
async def test_a_refused_upgrade_is_renewed_and_tried_once_more(case: Case):
    case.upstream.answers(replies(unauthorized()), tunnels())
    client = await upgraded(case)
    await client.send(b"frame")
    assert await client.read_exactly(5) == b"frame"
    assert [request.token for request in case.upstream.requests] == [case.token(1), case.token(2)]
    assert case.upstream.requests[1].values(b"upgrade") == [b"websocket"]
    assert case.token_requests == 2


@pytest.mark.case("W-273")
async def test_an_upgrade_that_is_refused_twice_is_refused(case: Case):
    case.upstream.answers(replies(unauthorized()), replies(unauthorized(b'Bearer error="second"')))
    client = await case.connect()
    relayed = await client.ask(case.request(*ASKED))
    assert (relayed.status, relayed.values(b"www-authenticate")) == (401, [b'Bearer error="second"'])
    assert (case.upstream_requests, case.token_requests) == (2, 2)


@pytest.mark.case("W-274")
@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: Upgrade", b"Upgrade: other"],
        [b"Connection: Upgrade"],
        [],
        [b"Connection: Upgrade", b"Upgrade: h2c"],
    ],
    ids=["other", "none-named", "bare", "h2c"],
)
async def test_an_upgrade_to_something_else_fails(case: Case, fields: list[bytes]):
    case.upstream.answers(replies(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *fields]) + b"\r\n\r\n"))
    refused = await case.ask(case.request(*ASKED))
    assert (refused.status, refused.code) == (502, "upgrade_failed")
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()


@pytest.mark.case("W-274")
@pytest.mark.parametrize("line", [b"no colon", b"Name : x", b"X: a\x00b", b"X: a\rb", b": x", b" folded"])
async def test_a_malformed_upgrade_fails(case: Case, line: bytes):
    fields = [b"Connection: Upgrade", b"Upgrade: websocket", line]
    case.upstream.answers(replies(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *fields]) + b"\r\n\r\n"))
    refused = await case.ask(case.request(*ASKED))
    assert (refused.status, refused.code) == (502, "upstream_protocol_error")
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()


@pytest.mark.case("W-274")
async def test_an_upgrade_answered_by_an_ordinary_response_is_one(case: Case):
    case.upstream.answers(replies(response(b"plain", b"Upgrade: websocket")))
    client = await case.connect()
    answered = await client.ask(case.request(*ASKED))
    assert (answered.status, answered.body, answered.values(b"upgrade")) == (200, b"plain", [])
    assert (await client.ask(case.request())).body == OK_BODY


@pytest.mark.case("W-275")
async def test_frames_sent_before_the_101_wait_for_it(case: Case):
    gate = asyncio.Event()

    async def late(request: Request) -> None:
        await gate.wait()
        assert not request.stream.buffer  # nothing of a tunnel that does not exist yet
        await tunnels()(request)

    case.upstream.answers(late)
    client = await case.connect()
    await client.send(case.request(*ASKED) + b"early frames")
    await case.upstream.arrived()
    gate.set()
    assert (await client.response(upgrade=True)).status == 101
    assert await client.read_exactly(12) == b"early frames"


@pytest.mark.case("W-275")
async def test_frames_sent_before_a_refusal_are_dropped_with_the_stream(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response(b"no", status=b"403 Forbidden")))
    client = await case.connect()
    await client.send(case.request(*ASKED) + b"\x81\x85early frames that are no request")
    await case.upstream.arrived()
    gate.set()
    answered = await client.response()
    assert (answered.status, answered.body) == (403, b"no")
    await client.read_rest()
    assert case.upstream_requests == 1


@pytest.mark.case("W-276", "D-152")
@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"HTTP/2.0", b"unknown", b"h2c, websocket"])
async def test_any_other_upgrade_is_not_passed_on(case: Case, protocol: bytes):
    raw = case.request(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABkAAQAAP__"
    )
    client = await case.connect()
    answered = await client.ask(raw)
    assert (answered.status, answered.body) == (200, OK_BODY)
    [request] = case.upstream.requests
    assert request.values(b"upgrade") == request.values(b"http2-settings") == request.values(b"connection") == []
    assert (await client.ask(case.request())).status == 200


@pytest.mark.case("W-276", "D-170")
async def test_a_client_of_http_1_0_can_not_upgrade(case: Case):
    client = await case.connect()
    await client.send(case.raw(b"GET %s/x HTTP/1.0" % case.prefix, case.host, *ASKED))
    answered = await client.response()
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert case.upstream.requests[0].values(b"upgrade") == case.upstream.requests[0].values(b"connection") == []


@pytest.mark.case("W-278")
async def test_a_tunnel_in_which_nothing_moves_is_closed(case: Case):
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    await client.read_rest()
    async with awaiting("the end of the tunnel at the upstream"):
        await case.upstream.requests[0].stream.lost.wait()
    assert case.upstream_requests == 1


@pytest.mark.case("W-271", "D-181")
async def test_a_tunnel_waits_for_its_slower_side(case: Case):
    size = 32 << 20

    async def pours(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await request.send(bytes(size))
        request.fin()

    case.upstream.answers(pours)
    client = await case.connect(receive_buffer=4096)
    await client.send(case.request(*ASKED))
    assert (await client.response(upgrade=True)).status == 101
    before = case.stage.process.resident_bytes()
    waiting = asyncio.create_task(case.upstream.requests[0].stream.flushed())
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done
    assert case.stage.process.resident_bytes() - before < 8 << 20
    assert len(await client.read_rest()) == size
    await waiting


async def test_the_life_of_a_tunnel_is_not_taken_for_time_of_the_proxys_own(case: Case):
    process = case.stage.process
    before = await process.metric("overhead_seconds_sum")
    case.upstream.answers(tunnels())
    client = await upgraded(case)
    async for _ in slowly(3, 0.1):
        await client.send(b"x")
    client.half_close()
    assert await client.read_rest() == b"xxx"

    async def over() -> bool:
        return await process.metric("tunnels_open") == 0

    await eventually("the end of the tunnel", over)
    assert await process.metric("overhead_seconds_sum") - before < 0.2
