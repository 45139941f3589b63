"""Requests in time: pipelined, expected, cut short, half-closed, reset, uploaded faster than anyone reads."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.support.deadline import awaiting
from tests.support.scripts import OK_BODY, replies, replies_early, response, stalls, unauthorized
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = b"Expect: 100-continue"


@pytest.mark.case("D-163")
async def test_a_fin_inside_the_body_aborts_the_upstream_request(case: Case):
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 100", method=b"POST", body=b"x" * 50))
    request = await case.upstream.arrived()
    client.half_close()
    async with awaiting("the abort of the upstream request"):
        await request.gone()
    rest = await client.read_rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert (case.upstream_requests, request.body_complete) == (1, False)


@pytest.mark.case("D-163")
async def test_a_fin_inside_a_chunked_body_gets_no_made_up_end(case: Case):
    client = await case.connect()
    await client.send(case.request(b"Transfer-Encoding: chunked", method=b"POST", body=b"5\r\nhello\r\n"))
    request = await case.upstream.arrived()
    client.half_close()
    async with awaiting("the abort of the upstream request"):
        await request.gone()
    assert not request.body_complete
    assert b"0\r\n\r\n" not in request.stream.buffer
    await client.read_rest()


@pytest.mark.case("D-163")
async def test_a_fin_inside_a_body_that_came_ahead_aborts_that_request_when_its_turn_comes(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response()))
    client = await case.connect()
    short = case.request(b"Content-Length: 100", method=b"POST", target=b"/second", body=b"x" * 50)
    await client.send(case.request() + short)
    await case.upstream.arrived()
    client.half_close()
    async with case.stage.process.frozen():
        gate.set()
    assert (await client.response()).body == OK_BODY
    rest = await client.read_rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert [request.body_complete for request in case.upstream.requests] in ([True], [True, False])


@pytest.mark.case("D-163")
async def test_a_fin_inside_the_head_reaches_no_upstream(case: Case):
    client = await case.connect()
    await client.send(case.request()[:-2])
    client.half_close()
    rest = await client.read_rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-164", "P-217")
async def test_a_body_that_is_malformed_is_answered_also_after_an_interim_response(case: Case):
    case.upstream.answers(replies_early(CONTINUE, asyncio.Event()))
    client = await case.connect()
    await client.send(case.request(EXPECT, b"Transfer-Encoding: chunked", method=b"POST"))
    await client.read_until(CONTINUE)
    await client.send(b"ZZ\r\n")
    refused = await client.response("POST")
    assert (refused.status, refused.code) == (400, "bad_request")
    assert await client.is_closed()


@pytest.mark.case("D-165")
@pytest.mark.parametrize("count", [2, 1000])
async def test_pipelined_requests_are_answered_in_order(case: Case, count: int):
    async def number(request: Request) -> None:
        await request.read_body()
        await request.send(response(request.target))

    case.upstream.always(number)
    client = await case.connect()
    burst = b"".join(case.request(target=b"/%d" % n) for n in range(count))
    sending = asyncio.create_task(client.send(burst))
    bodies = [(await client.response()).body for _ in range(count)]
    await sending
    assert bodies == [b"/%d" % n for n in range(count)]
    assert [request.target for request in case.upstream.requests] == bodies
    assert case.token_requests == 1


@pytest.mark.case("D-165")
async def test_pipelined_requests_with_bodies_are_told_apart(case: Case):
    async def echo(request: Request) -> None:
        await request.send(response(request.method + b" " + await request.read_body()))

    case.upstream.always(echo)
    client = await case.connect()
    await client.send(
        case.request(b"Content-Length: 3", method=b"POST", body=b"one")
        + case.request(b"Transfer-Encoding: chunked", method=b"PUT", body=b"3\r\ntwo\r\n0\r\n\r\n")
        + case.request()
        + case.request(b"Content-Length: 4", method=b"POST", body=b"four")
    )
    assert [(await client.response()).body for _ in range(4)] == [b"POST one", b"PUT two", b"GET ", b"POST four"]


@pytest.mark.case("D-165")
async def test_a_malformed_request_behind_good_ones_is_answered_in_its_turn(case: Case):
    client = await case.connect()
    await client.send(case.request(target=b"/1") + case.request(target=b"/2") + b"NONSENSE\r\n\r\n" + case.request())
    assert [(await client.response()).status for _ in range(3)] == [200, 200, 400]
    assert await client.is_closed()
    assert [request.target for request in case.upstream.requests] == [b"/1", b"/2"]


@pytest.mark.case("D-166")
async def test_much_that_follows_a_request_that_closes_is_ignored_without_a_reset(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response()))
    client = await case.connect()
    ahead = case.request(target=b"/second") * 20_000
    sending = asyncio.create_task(client.send(case.request(b"Connection: close") + ahead))
    await case.upstream.arrived()
    gate.set()
    answered = await client.response()
    assert (answered.status, answered.body, answered.closes) == (200, OK_BODY, True)
    assert await client.is_closed()
    assert not client.was_reset
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert [request.target for request in case.upstream.requests] == [b"/x"]


@pytest.mark.case("D-166")
async def test_what_follows_a_request_that_closes_is_ignored(case: Case):
    client = await case.connect()
    await client.send(case.request(b"Connection: close") + case.request(target=b"/second"))
    answered = await client.response()
    assert (answered.status, answered.closes) == (200, True)
    assert await client.is_closed()
    assert [request.target for request in case.upstream.requests] == [b"/x"]


@pytest.mark.case("D-166")
@pytest.mark.connection(allowed_paths=["/x", "/warm", "/afterwards"])
async def test_what_follows_a_refused_request_that_closes_is_ignored_too(case: Case):
    client = await case.warm()
    before = case.upstream_requests
    await client.send(case.request(b"Connection: close", target=b"/elsewhere") + case.request(target=b"/x/second"))
    answered = await client.response()
    assert (answered.status, answered.code, answered.closes) == (403, "not_allowed", True)
    assert await client.is_closed()
    assert case.upstream_requests == before


async def polite(request: Request) -> None:
    """Ask for the body before it is read, and send it back."""
    await request.send(CONTINUE)
    await request.send(response(await request.read_body()))


@pytest.mark.case("D-167")
async def test_a_client_that_expects_continue_gets_the_upstreams(case: Case):
    case.upstream.answers(polite)
    client = await case.connect()
    await client.send(case.request(EXPECT, b"Content-Length: 5", method=b"POST"))
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await client.send(b"hello")
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (200, b"hello")
    assert case.upstream.requests[0].values(b"expect") == [b"100-continue"]
    assert (await client.ask(case.request())).status == 200


@pytest.mark.case("D-167")
async def test_a_client_that_does_not_wait_for_continue_gets_through(case: Case):
    case.upstream.answers(polite)
    answered = await case.ask(case.request(EXPECT, b"Content-Length: 5", method=b"POST", body=b"hello"))
    assert (answered.status, answered.body, answered.interim) == (200, b"hello", [100])


@pytest.mark.case("D-167")
async def test_an_upstream_that_refuses_an_expectation_is_heard_before_the_body(case: Case):
    case.upstream.answers(replies_early(response(b"no", status=b"413 Content Too Large")))
    client = await case.connect()
    await client.send(case.request(EXPECT, b"Content-Length: 5", method=b"POST"))
    answered = await client.response("POST")
    assert (answered.status, answered.body, answered.interim) == (413, b"no", [])
    assert case.upstream_requests == 1


@pytest.mark.case("D-168")
async def test_a_refused_expectation_is_renewed_and_the_body_sent_once(case: Case):
    case.upstream.answers(replies_early(unauthorized()), polite)
    client = await case.connect()
    await client.send(case.request(EXPECT, b"Content-Length: 5", method=b"POST"))
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await client.send(b"hello")
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (200, b"hello")
    assert [request.token for request in case.upstream.requests] == [case.token(1), case.token(2)]
    assert [request.values(b"expect") for request in case.upstream.requests] == [[b"100-continue"]] * 2
    assert case.upstream.requests[0].body == b""
    assert case.token_requests == 2


@pytest.mark.case("D-169")
@pytest.mark.parametrize("expectation", [b"banana", b"100-continue, banana", b"200-ok"])
async def test_another_expectation_fails(case: Case, expectation: bytes):
    client = await case.connect()
    refused = await client.ask(case.request(b"Expect: " + expectation, b"Content-Length: 5", method=b"POST"))
    assert (refused.status, refused.code) == (417, "expectation_failed")
    assert await client.is_closed()
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-176")
async def test_a_client_that_resets_before_the_response_aborts_the_upstream_request(case: Case):
    case.upstream.answers(stalls)
    client = await case.connect()
    await client.send(case.request())
    request = await case.upstream.arrived()
    client.reset()
    async with awaiting("the abort of the upstream request"):
        await request.gone()
    assert case.upstream_requests == 1


@pytest.mark.case("D-176")
async def test_a_client_that_resets_while_the_token_is_fetched_leaves_the_renewal_alone(case: Case):
    gate = case.stage.tokens.held[case.name] = asyncio.Event()
    client = await case.connect()
    await client.send(case.request())
    async with awaiting("the token request"):
        await case.stage.tokens.asked_by(case.name, 1)
    client.reset()
    second = await case.connect()
    await second.send(case.request(target=b"/second"))
    gate.set()
    assert (await second.response()).status == 200
    assert case.token_requests == 1
    assert [request.target for request in case.upstream.requests] == [b"/second"]


@pytest.mark.case("D-176")
async def test_a_client_that_leaves_is_recorded_as_499(case: Case):
    case.upstream.answers(stalls)
    client = await case.connect()
    await client.send(case.request())
    request = await case.upstream.arrived()
    client.reset()
    await request.gone()
    assert (await case.stage.process.until_logged("exchange", connection=case.name))["status"] == 499


@pytest.mark.case("D-177")
async def test_a_client_that_half_closes_after_its_request_gets_the_whole_response(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response(b"a" * 100_000)))
    client = await case.connect()
    await client.send(case.request())
    client.half_close()
    await case.upstream.arrived()
    gate.set()
    answered = await client.response()
    assert (answered.status, len(answered.body), answered.complete) == (200, 100_000, True)
    assert await client.is_closed()


@pytest.mark.case("D-177")
async def test_a_half_close_while_the_token_is_fetched_is_no_departure(case: Case):
    gate = case.stage.tokens.held[case.name] = asyncio.Event()
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 5", method=b"POST", body=b"hello"))
    client.half_close()
    async with awaiting("the token request"):
        await case.stage.tokens.asked_by(case.name, 1)
    gate.set()
    assert (await client.response("POST")).status == 200
    assert await client.is_closed()
    assert case.upstream.requests[0].body == b"hello"


@pytest.mark.case("D-178")
async def test_a_client_that_resets_inside_the_response_ends_the_upstream_stream(case: Case):
    async def endless(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not request.stream.ended.is_set():
            await request.send(b"x" * 65_536)
            await asyncio.sleep(0)  # a stream that is gone takes everything at once; its end has to be heard of, too
        request.finished = True

    case.upstream.answers(endless)
    client = await case.connect()
    await client.send(case.request())
    await client.read_until(b"xxx")
    client.reset()
    [request] = case.upstream.requests
    async with awaiting("the end of the upstream stream"):
        await request.gone()
    assert case.upstream_requests == 1


@pytest.mark.case("D-181")
async def test_an_upload_waits_while_the_upstream_does_not_read(case: Case):
    size = 64 << 20
    reading = asyncio.Event()

    async def slow(request: Request) -> None:
        request.stream.transport.pause_reading()
        await reading.wait()
        request.stream.transport.resume_reading()
        digest = hashlib.sha256(await request.read_body()).hexdigest()
        await request.send(response(digest.encode()))

    case.upstream.answers(slow)
    body = bytes(range(256)) * (size // 256)
    client = await case.connect()
    before = case.stage.process.resident_bytes()
    sending = asyncio.create_task(client.send(case.request(b"Content-Length: %d" % size, method=b"POST", body=body)))
    await case.upstream.arrived()
    stuck = not (await asyncio.wait([sending], timeout=1.0))[0]  # all of it through the loopback takes a tenth of that
    held = case.stage.process.resident_bytes() - before
    reading.set()
    answered = await client.response("POST")
    await sending
    assert answered.body == hashlib.sha256(body).hexdigest().encode()
    assert stuck
    assert held < 8 << 20


@pytest.mark.case("D-175", "D-178")
async def test_a_download_waits_while_the_client_does_not_read(case: Case):
    size = 64 << 20
    case.upstream.answers(replies(response(bytes(size))))
    client = await case.connect(receive_buffer=4096)
    before = case.stage.process.resident_bytes()
    await client.send(case.request())
    await client.read_until(b"\r\n\r\n")
    done = await asyncio.wait([asyncio.create_task(case.upstream.requests[0].stream.flushed())], timeout=1.0)
    held = case.stage.process.resident_bytes() - before
    answered = len(await client.read_exactly(size))
    await asyncio.gather(*done[1])
    assert answered == size
    assert not done[0]  # the upstream could not get rid of it, though the loopback takes a tenth of that time
    assert held < 8 << 20


@pytest.mark.case("D-165", "D-176")
async def test_a_connection_reused_after_an_own_answer_serves_on(case: Case):
    client = await case.connect()
    refused = await client.ask(case.raw(b"GET /nobody HTTP/1.1", case.host))
    assert (refused.status, refused.code) == (404, "no_route")
    answered = await client.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
