"""Who keeps the proxy waiting: slow clients, silent clients, slow upstreams; each wait has its own limit."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually, slowly
from tests.support.scripts import OK_BODY, replies, response, stalls
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"limits": {"head_timeout": "400ms", "body_idle": "400ms", "keep_alive": "600ms", "write_idle": "500ms"}}
SHORT = {"connect": "500ms", "response": "500ms", "idle": "500ms"}


@pytest.mark.case("D-164")
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_stops_coming_is_given_up(case: Case, framing: str):
    field, body = {
        "length": (b"Content-Length: 100", b"x" * 50),
        "chunked": (b"Transfer-Encoding: chunked", b"32\r\n" + b"x" * 50 + b"\r\n"),
    }[framing]
    client = await case.connect()
    await client.send(case.request(field, method=b"POST", body=body))
    request = await case.upstream.arrived()
    refused = await client.response("POST")
    assert (refused.status, refused.code) == (408, "client_body_timeout")
    assert await client.is_closed()
    async with awaiting("the abort of the upstream request"):
        await request.gone()
    assert (case.upstream_requests, request.body_complete) == (1, False)


@pytest.mark.case("D-164")
async def test_a_body_that_keeps_coming_may_take_longer_than_the_wait_for_its_next_byte(case: Case):
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 8", method=b"POST"))
    async for _ in slowly(8, 0.1):  # in all longer than body_idle
        await client.send(b"x")
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (200, OK_BODY)


@pytest.mark.case("D-171")
async def test_a_stream_that_says_nothing_is_closed_without_a_word(case: Case):
    client = await case.connect()
    assert await client.is_closed()
    assert case.upstream_requests == 0


@pytest.mark.case("D-172", "D-173")
@pytest.mark.parametrize("begun", [b"G", b"GET /c", b"GET /c0/x HTTP/1.1\r\nHost: localhost\r\nX-A: 1"])
async def test_a_head_that_stops_coming_is_given_up(case: Case, begun: bytes):
    client = await case.connect()
    await client.send(begun)
    rest = await client.read_rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert case.upstream_requests == 0


@pytest.mark.case("D-173")
async def test_a_head_that_drips_has_one_limit_in_all(case: Case):
    client = await case.connect()

    async def drip() -> None:
        await client.send(b"GET /c0/x HTTP/1.1\r\nHost: localhost\r\n")
        async for _ in slowly(1000, 0.05):
            await client.send(b"X-A: 1\r\n")

    dripping = asyncio.create_task(drip())
    rest = await client.read_rest()
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert case.upstream_requests == 0


@pytest.mark.case("D-174")
async def test_slow_clients_that_were_closed_are_counted_and_disturb_nobody(case: Case):
    before = await case.stage.process.metric("slow_clients_closed_total")
    slow = [await case.connect() for _ in range(50)]
    for client in slow:
        await client.send(b"GET / HTTP/1.1\r\nX-A")
    for _ in range(20):
        assert (await case.ask(case.request())).status == 200
    for client in slow:
        await client.read_rest()
    assert await case.stage.process.metric("slow_clients_closed_total") - before == 50


@pytest.mark.case("D-175")
async def test_a_client_that_stops_reading_is_aborted_on_both_sides(case: Case):
    async def endless(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await request.send(b"x" * 65_536)

    case.upstream.answers(endless)
    client = await case.connect(receive_buffer=4096)
    await client.send(case.request())
    request = await case.upstream.arrived()
    assert (await case.ask(case.request(target=b"/beside"))).status == 200
    async with awaiting("the abort of the upstream stream"):
        await request.stream.lost.wait()
    assert request.stream.bytes_written < 32 << 20
    rest = await client.read_rest()
    assert len(rest) < 1_000_000_000


@pytest.mark.case("L-283")
async def test_an_idle_stream_is_closed_after_its_time(case: Case):
    client = await case.connect()
    answered = await client.ask(case.request())
    assert (answered.status, answered.closes) == (200, False)
    assert await client.is_closed()
    assert not client.was_reset
    assert case.upstream_requests == 1


@pytest.mark.case("L-283")
async def test_many_idle_streams_are_closed_and_their_files_with_them(case: Case):
    clients = [await case.connect() for _ in range(100)]
    await asyncio.gather(*(client.ask(case.request()) for client in clients))
    with_them = case.stage.process.open_files()
    assert all(await asyncio.gather(*(client.is_closed() for client in clients)))
    await eventually("the end of their files", lambda: case.stage.process.open_files() <= with_them - 100)
    assert (await case.ask(case.request())).status == 200


@pytest.mark.case("P-228")
@pytest.mark.connection(timeouts=SHORT)
async def test_an_upstream_that_does_not_answer_times_out(case: Case):
    case.upstream.answers(stalls)
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (504, "upstream_timeout")
    [request] = case.upstream.requests
    async with awaiting("the end of the upstream stream"):
        await request.gone()
    assert case.upstream_requests == 1


@pytest.mark.case("P-228")
@pytest.mark.connection(timeouts=SHORT)
async def test_the_wait_for_a_response_begins_at_the_end_of_the_request(case: Case):
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 9", method=b"POST"))
    async for _ in slowly(9, 0.1):  # in all longer than timeouts.response
        await client.send(b"x")
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (200, OK_BODY)


@pytest.mark.case("P-229")
@pytest.mark.connection(timeouts=SHORT)
@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_a_response_body_that_stalls_is_aborted(case: Case, framing: bytes):
    begun = b"3\r\nabc\r\n" if b"chunked" in framing else b"abc"

    async def stalling(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + begun)
        await request.gone()
        request.finished = True

    case.upstream.answers(stalling)
    client = await case.connect()
    await client.send(case.request())
    received = await client.read_rest()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n" + begun)
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()


@pytest.mark.case("P-230")
@pytest.mark.connection(timeouts=SHORT)
async def test_a_response_head_that_drips_has_one_limit_in_all(case: Case):
    async def drip(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        async for _ in slowly(1000, 0.05):
            await request.send(b"a")

    case.upstream.answers(drip)
    refused = await case.ask(case.request())
    assert (refused.status, refused.code) == (504, "upstream_timeout")
    assert case.upstream_requests == 1


@pytest.mark.case("P-228", "P-217")
@pytest.mark.connection(timeouts=SHORT)
async def test_interim_responses_do_not_stretch_the_wait(case: Case):
    async def hint(request: Request) -> None:
        request.finished = True
        async for _ in slowly(10, 0.1):
            await request.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await request.gone()

    case.upstream.answers(hint)
    refused = await case.ask(case.request())
    assert (refused.status, refused.code) == (504, "upstream_timeout")


@pytest.mark.case("P-222")
@pytest.mark.connection(base_url="http://127.0.0.1:PORT", timeouts=SHORT)
async def test_an_upstream_that_does_not_accept_times_out(case: Case):
    """A listener whose queue is full drops every further SYN, as a black hole does."""
    case.upstream.shut()
    fillers: list[socket.socket] = []
    with socket.socket() as black_hole:
        black_hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        black_hole.bind(("127.0.0.1", case.upstream.port))
        black_hole.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(black_hole.getsockname())
            fillers.append(filler)
        refused = await case.ask(case.request())
        for filler in fillers:
            filler.close()
    assert (refused.status, refused.code) == (504, "upstream_connect_timeout")
    await case.upstream.reopen()


@pytest.mark.case("D-171")
async def test_a_stream_that_only_sends_blank_lines_is_closed(case: Case):
    client: Client = await case.connect()
    await client.send(b"\r\n")
    rest = await client.read_rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert case.upstream_requests == 0


@pytest.mark.case("P-229", "D-175")
async def test_a_stream_that_flows_slowly_is_not_idle(case: Case):
    async def slow(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        async for _ in slowly(10, 0.1):  # in all longer than any limit of the client's side
            await request.send(b"x")

    case.upstream.answers(slow)
    answered = await case.ask(case.request())
    assert (answered.status, answered.body, answered.complete) == (200, b"x" * 10, True)


PIPELINED = 600
LARGE = b"x" * 65536


@pytest.mark.case("D-165", "D-175")
async def test_a_client_that_asks_on_and_reads_no_answers_is_not_answered_on(case: Case):
    case.upstream.always(replies(response(LARGE)))
    slow_before = await case.stage.process.metric("slow_clients_closed_total")
    client = await case.connect(receive_buffer=4096)
    sending = asyncio.create_task(client.send(case.request() * PIPELINED))

    async def cut() -> bool:
        return await case.stage.process.metric("slow_clients_closed_total") > slow_before

    await eventually("the cut of the client that does not read", cut)
    await asyncio.gather(sending, return_exceptions=True)
    # What the kernel takes is not ours to hold back.
    assert 0 < case.upstream_requests < PIPELINED // 2


@pytest.mark.case("D-165", "D-175")
async def test_a_client_that_asks_ahead_and_reads_late_gets_every_answer_in_its_turn(case: Case):
    async def number(request: Request) -> None:
        await request.send(response(request.target.ljust(len(LARGE), b"."), b"Content-Type: text/plain"))

    case.upstream.always(number)
    client = await case.connect()
    await client.send(b"".join(case.request(target=b"/%d" % n) for n in range(PIPELINED)))
    client.half_close()
    bodies = [(await client.response()).body.rstrip(b".") for _ in range(PIPELINED)]
    assert await client.is_closed()
    assert bodies == [b"/%d" % n for n in range(PIPELINED)]


async def test_a_client_that_leaves_the_last_bytes_unread_is_not_waited_for_forever(case: Case):
    """Sizes around what the kernel holds: of some responses so little is unsent that the stream never blocked."""
    size = 64 << 20
    await case.warm()
    case.upstream.always(lambda request: request.send(response(bytes(_size_asked(request)), b"Connection: close")))
    at_rest = case.stage.process.open_files()
    probe = await case.connect(receive_buffer=4096)
    await probe.send(case.request(target=b"/%d" % size))
    held = await _held_by_the_kernel(probe)
    for beyond in range(-4, 8):
        client = await case.connect(receive_buffer=4096)
        await client.send(case.request(b"Connection: close", target=b"/%d" % (held + (beyond << 14))))

    async def gone() -> bool:
        return case.stage.process.open_files() <= at_rest

    await eventually("no stream left to a client that does not read", gone)
    assert await gone()


def _size_asked(request: Request) -> int:
    name = request.target.rpartition(b"/")[2]
    return int(name) if name.isdigit() else len(OK_BODY)


async def _held_by_the_kernel(client: Client) -> int:
    """Return how many bytes lie between the proxy and this client, once they are no longer more (proc(5), net/tcp).

    They may be fewer at the next look: the proxy gives the client up after `write_idle`.
    """
    most = 0
    while True:
        async for _ in slowly(2, 0.1):
            pass
        now = _queued(f":{client.port:04X}")
        if most and now <= most:
            return most
        most = now


def _queued(port: str) -> int:
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(part, 16) for row in rows if row[1].endswith(port) or row[2].endswith(port) for part in row[4].split(":")
    )
