"""What an upstream may answer: one reading only, or a 502 and the end of that stream (RFC 9112 §6 and §7)."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.deadline import awaiting
from tests.support.scripts import OK_BODY, replies, replies_then_fin, response
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK = b"5\r\nhello\r\n0\r\n\r\n"


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


def ok(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields]) + b"\r\n\r\n" + body


MALFORMED = [
    *(
        pytest.param(raw, id=f"P-201-{name}")
        for name, raw in {
            "length-first": ok(b"Content-Length: 5", CHUNKED, body=ONE_CHUNK),
            "coding-first": ok(CHUNKED, b"Content-Length: 5", body=ONE_CHUNK),
        }.items()
    ),
    *(
        pytest.param(ok(*fields, body=b"hello"), id=f"P-202-{name}")
        for name, fields in {
            "different": [b"Content-Length: 5", b"Content-Length: 4"],
            "equal": [b"Content-Length: 5", b"Content-Length: 5"],
            "list": [b"Content-Length: 5, 5"],
            "minus": [b"Content-Length: -2"],
            "plus": [b"Content-Length: +5"],
            "empty": [b"Content-Length:"],
            "hexadecimal": [b"Content-Length: 0x5"],
            "two-numbers": [b"Content-Length: 5 5"],
            "beyond-64-bits": [b"Content-Length: 18446744073709551621"],
            "space-before-colon": [b"Content-Length : 5"],
            "tab-behind": [b"Content-Length: 5 \t"],
        }.items()
    ),
    *(
        pytest.param(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 5\r\n\r\nhello", id=f"P-203-{name}")
        for name, line in {
            "nul": b"X-A: a\x00b",
            "carriage-return": b"X-A: a\rb",
            "control-01": b"X-A: a\x01b",
            "escape": b"X-A: a\x1bb",
            "delete": b"X-A: a\x7fb",
            "fold": b"X-A: 1\r\n 2",
            "fold-by-tab": b"X-A: 1\r\n\t2",
            "empty-name": b": 1",
            "no-colon": b"X-A",
            "space-before-colon": b"X-A : 1",
            "space-in-name": b"X A: 1",
            "space-before-first": b" X-A: 1",
            "bare-lf": b"X-A: 1\nX-B: 2",
        }.items()
    ),
    pytest.param(b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello", id="P-203-return-in-reason"),
    pytest.param(b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello", id="P-203-nul-in-reason"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", id="P-206-bare-lf"),
    *(
        pytest.param(ok(*fields, body=ONE_CHUNK), id=f"P-208-{name}")
        for name, fields in {
            "lookalike": [b"Transfer-Encoding: xchunked"],
            "compressed": [b"Transfer-Encoding: gzip, chunked"],
            "twice": [CHUNKED, CHUNKED],
            "twice-in-a-list": [b"Transfer-Encoding: chunked, chunked"],
            "identity": [b"Transfer-Encoding: identity"],
            "empty": [b"Transfer-Encoding:"],
            "comma": [b"Transfer-Encoding: ,chunked"],
            "tab-behind": [b"Transfer-Encoding: chunked \t"],
        }.items()
    ),
    *(
        pytest.param(ok(CHUNKED, body=body), id=f"P-209-{name}")
        for name, body in {
            "letter": b"Z\r\nhello\r\n0\r\n\r\n",
            "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
            "minus": b"-1\r\nhello\r\n0\r\n\r\n",
            "empty": b"\r\nhello\r\n0\r\n\r\n",
            "spill": b"5\r\nhello!!\r\n0\r\n\r\n",
            "bare-lf": b"5\nhello\n0\n\n",
        }.items()
    ),
    *(
        pytest.param(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nhello", id=f"P-211-{name}")
        for name, status in {
            "99": b"99 No",
            "099": b"099 No",
            "1000": b"1000 No",
            "letters": b"abc No",
            "nought": b"000 No",
            "minus": b"-200 No",
            "empty": b"",
            "two-spaces": b" 200 OK",
        }.items()
    ),
    *(
        pytest.param(raw, id=f"P-212-{name}")
        for name, raw in {
            "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "http-1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "lower-case": b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "http-0.9": b"<html>hello</html>\r\n\r\n",
            "tls-alert": b"\x15\x03\x01\x00\x02\x02\x46",
            "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
            "h2-settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
            "icy": b"ICY 200 OK\r\n\r\n",
            "blank-line-first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        }.items()
    ),
    pytest.param(
        ok(*(b"X-%d: %s" % (n, b"a" * 8_000) for n in range(9)), b"Content-Length: 5", body=b"hello"), id="P-213-bytes"
    ),
    pytest.param(ok(*(b"X-%d: 1" % n for n in range(128)), b"Content-Length: 5", body=b"hello"), id="P-213-count"),
    pytest.param(ok(b"X: " + b"a" * 100_000)[:-4], id="P-213-endless-line"),
]


@pytest.mark.case(
    "P-201", "P-202", "P-203", "P-204", "P-205", "P-206", "P-207", "P-208", "P-209", "P-211", "P-212", "P-213"
)
@pytest.mark.parametrize("raw", MALFORMED)
async def test_a_malformed_response_is_a_502_and_nothing_of_it_is_delivered(case: Case, raw: bytes):
    case.upstream.answers(replies(raw))
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (502, "upstream_protocol_error")
    assert not refused.closes
    [request] = case.upstream.requests
    async with awaiting("the end of the upstream stream"):
        await request.gone()
    again = await client.ask(case.request(target=b"/again"))
    assert (again.status, again.body) == (200, OK_BODY)
    assert [request.stream.number for request in case.upstream.requests] == [1, 2]


@pytest.mark.case("P-210")
@pytest.mark.parametrize("size", [b"5 ", b"5\t", b"5  "])
async def test_a_chunk_size_with_a_space_after_it_is_never_passed_on_as_it_is(case: Case, size: bytes):
    case.upstream.answers(replies(ok(CHUNKED, body=size + b"\r\nhello\r\n0\r\n\r\n")))
    client = await case.connect()
    await client.send(case.request(b"Connection: close"))
    received = await client.read_rest()
    assert size + b"\r\nhello" not in received
    assert received.startswith(b"HTTP/1.1 502 ") or b"5\r\nhello\r\n0\r\n\r\n" in received


@pytest.mark.case("P-211")
@pytest.mark.parametrize("status", [b"200", b"299 Odd", b"599 Odder", b"999 Oddest", b"418 I'm a teapot"])
async def test_an_unusual_status_passes(case: Case, status: bytes):
    case.upstream.answers(replies(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nhello"))
    client = await case.connect()
    await client.send(case.request(b"Connection: close"))
    received = await client.read_rest()
    assert received.startswith((b"HTTP/1.1 " + status + b"\r\n", b"HTTP/1.1 " + status + b" \r\n"))
    assert received.endswith(b"\r\n\r\nhello")


@pytest.mark.case("P-214")
@pytest.mark.parametrize(
    ("method", "raw"),
    [
        pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param(b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", id="304"),
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", id="head"),
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="head-chunked"),
    ],
)
@pytest.mark.parametrize("extra", named(bytes=b"hello", response=b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"))
async def test_a_body_where_none_may_be_is_discarded_with_its_stream(
    case: Case, method: bytes, raw: bytes, extra: bytes
):
    case.upstream.answers(replies(raw + extra))
    client = await case.connect()
    first = await client.ask(case.request(method=method))
    assert (first.status, first.body, first.closes) == (int(raw[9:12]), b"", False)
    second = await client.ask(case.request(target=b"/second"))
    assert (second.status, second.body) == (200, OK_BODY)
    assert [request.stream.number for request in case.upstream.requests] == [1, 2]


@pytest.mark.case("P-215")
@pytest.mark.parametrize(
    "extra", named(bytes=b"extra", response=b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", line=b"\r\n")
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_what_follows_a_response_is_never_delivered_to_anyone(case: Case, extra: bytes, framing: str):
    raw = response(b"first") if framing == "length" else ok(CHUNKED, body=b"5\r\nfirst\r\n0\r\n\r\n")
    case.upstream.answers(replies(raw + extra))
    client = await case.connect()
    first = await client.ask(case.request())
    assert (first.status, first.body) == (200, b"first")
    second = await client.ask(case.request(target=b"/second"))
    assert (second.status, second.body) == (200, OK_BODY)
    assert [request.stream.number for request in case.upstream.requests] == [1, 2]
    async with awaiting("the end of the poisoned stream"):
        await case.upstream.requests[0].gone()


@pytest.mark.case("P-216")
@pytest.mark.parametrize(
    "unasked",
    named(
        response=b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        bytes=b"x",
        timeout=b"HTTP/1.1 408 Request Timeout\r\n\r\n",
    ),
)
async def test_bytes_on_an_idle_stream_end_it(case: Case, unasked: bytes):
    client = await case.warm()
    [stream] = case.upstream.streams
    await stream.write(unasked)
    async with awaiting("the end of the idle stream"):
        await stream.ended.wait()
    second = await client.ask(case.request())
    assert (second.status, second.body) == (200, OK_BODY)
    assert [request.stream.number for request in case.upstream.requests] == [2]


@pytest.mark.case("P-217")
async def test_interim_responses_are_passed_on_before_the_final_one(case: Case):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    case.upstream.answers(replies(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + hints + response()))
    client = await case.connect()
    await client.send(case.request(b"Connection: close"))
    received = await client.read_rest()
    assert received.startswith(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + hints + b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(OK_BODY)


@pytest.mark.case("P-217")
async def test_an_interim_response_is_not_held_until_the_final_one(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", gate, response()))
    client = await case.connect()
    await client.send(case.request())
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    gate.set()
    assert (await client.response()).status == 200


@pytest.mark.case("P-217")
@pytest.mark.parametrize("count", [17, 20_000])
async def test_too_many_interim_responses_are_an_error(case: Case, count: int):
    async def flood(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 102 Processing\r\n\r\n" * count)
        await request.gone()

    case.upstream.answers(flood)
    refused = await case.ask(case.request())
    assert (refused.status, refused.code) == (502, "upstream_protocol_error")
    assert len(refused.interim) <= 16


@pytest.mark.case("P-217")
async def test_sixteen_interim_responses_pass(case: Case):
    case.upstream.answers(replies(b"HTTP/1.1 102 Processing\r\n\r\n" * 16 + response()))
    answered = await case.ask(case.request())
    assert (answered.status, answered.interim) == (200, [102] * 16)


@pytest.mark.case("P-418")
async def test_a_continue_that_nobody_expects_is_swallowed(case: Case):
    case.upstream.answers(replies(b"HTTP/1.1 100 Continue\r\n\r\n" + response()))
    answered = await case.ask(case.request(b"Content-Length: 5", method=b"POST", body=b"hello"))
    assert (answered.status, answered.body, answered.interim) == (200, OK_BODY, [])


@pytest.mark.case("P-218")
@pytest.mark.parametrize(
    "raw",
    named(
        websocket=b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        bare=b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        h2c=b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI",
    ),
)
async def test_an_upgrade_that_nobody_asked_for_fails(case: Case, raw: bytes):
    case.upstream.answers(replies(raw))
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (502, "upgrade_failed")
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()
    assert case.upstream_requests == 1


@pytest.mark.case("P-212")
@pytest.mark.parametrize("keep", [False, True], ids=["close", "keep-alive"])
async def test_an_upstream_of_http_1_0_is_understood(case: Case, keep: bool):
    field = b"Connection: keep-alive\r\n" if keep else b""
    raw = b"HTTP/1.0 200 OK\r\n" + field + b"Content-Length: 5\r\n\r\nhello"
    case.upstream.answers(replies(raw) if keep else replies_then_fin(raw))
    client = await case.connect()
    answered = await client.ask(case.request())
    assert (answered.status, answered.body, answered.http_version) == (200, b"hello", b"1.1")
    assert (await client.ask(case.request())).status == 200
    assert [request.stream.number for request in case.upstream.requests] == ([1, 1] if keep else [1, 2])
