"""What of a response reaches the client: all of it as it came, but for what belongs to the hop (RFC 9110 §7.6.1)."""

from __future__ import annotations

import gzip

import pytest

from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ok(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields]) + b"\r\n\r\n" + body


@pytest.mark.case("P-411")
async def test_hop_by_hop_and_nominated_fields_end_here(case: Case):
    raw = response(
        OK_BODY, b"Connection: X-Secret, keep-alive", b"X-Secret: 1", b"Keep-Alive: timeout=50", b"Proxy-Connection: x",
        b"TE: trailers", b"Upgrade: h2c", b"X-Kept: 2", b"connection: x-other", b"X-Other: 3",
    )  # fmt: skip
    case.upstream.answers(replies(raw))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert answered.fields == [(b"X-Kept", b"2"), (b"Content-Length", b"%d" % len(OK_BODY))]


@pytest.mark.case("P-411")
async def test_a_hostile_upstream_does_not_strip_what_belongs_to_the_end(case: Case):
    kept = [
        b"Set-Cookie: a=b", b"WWW-Authenticate: Bearer", b"Content-Type: text/plain", b"Cache-Control: private",
    ]  # fmt: skip
    names = b", ".join(line.split(b":")[0] for line in kept)
    case.upstream.answers(replies(response(OK_BODY, b"Connection: content-length, " + names, *kept)))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert [b"%b: %b" % pair for pair in answered.fields] == [*kept, b"Content-Length: %d" % len(OK_BODY)]


@pytest.mark.case("P-411")
async def test_an_upstream_that_closes_does_not_close_the_client(case: Case):
    case.upstream.answers(replies(response(OK_BODY, b"Connection: close")))
    client = await case.connect()
    first = await client.ask(case.request())
    assert (first.status, first.closes, first.values(b"connection")) == (200, False, [])
    assert (await client.ask(case.request())).status == 200
    assert [request.stream.number for request in case.upstream.requests] == [1, 2]


@pytest.mark.case("P-412")
@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked", b"X-A: none"])
async def test_the_response_to_head_keeps_its_framing_fields_and_has_no_body(case: Case, framing: bytes):
    case.upstream.answers(replies(ok(framing)))
    client = await case.connect()
    answered = await client.ask(case.request(method=b"HEAD"))
    assert (answered.status, answered.body) == (200, b"")
    assert [b"%b: %b" % pair for pair in answered.fields] == [framing]
    assert (await client.ask(case.request())).body == OK_BODY
    assert [request.stream.number for request in case.upstream.requests] == [1, 1]


@pytest.mark.case("P-413")
@pytest.mark.parametrize("status", [b"304 Not Modified", b"204 No Content"])
async def test_a_response_without_a_body_is_not_waited_for(case: Case, status: bytes):
    fields = [b'ETag: "x"'] + ([b"Content-Length: 100"] if status.startswith(b"304") else [])
    case.upstream.answers(replies(b"\r\n".join([b"HTTP/1.1 " + status, *fields]) + b"\r\n\r\n"))
    client = await case.connect()
    answered = await client.ask(case.request())
    assert (answered.status, answered.body) == (int(status[:3]), b"")
    assert [b"%b: %b" % pair for pair in answered.fields] == fields
    assert (await client.ask(case.request())).body == OK_BODY
    assert [request.stream.number for request in case.upstream.requests] == [1, 1]


@pytest.mark.case("P-413")
async def test_a_205_has_the_body_that_its_framing_says(case: Case):
    case.upstream.answers(replies(response(b"reset", status=b"205 Reset Content")))
    client = await case.connect()
    answered = await client.ask(case.request())
    assert (answered.status, answered.body) == (205, b"reset")
    assert (await client.ask(case.request())).body == OK_BODY


@pytest.mark.case("P-414")
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param(b"gzip", b"not gzip at all", id="not-gzip"),
        pytest.param(b"gzip, gzip", gzip.compress(gzip.compress(b"hello")), id="twice"),
        pytest.param(b"gzip", gzip.compress(b"hello" * 100)[:-12], id="truncated"),
        pytest.param(b"gzip", gzip.compress(b"hello" * 100), id="good"),
        pytest.param(b"rot13", b"uryyb", id="unknown"),
    ],
)
async def test_a_content_coding_is_never_touched(case: Case, coding: bytes, body: bytes):
    case.upstream.answers(replies(response(body, b"Content-Encoding: " + coding)))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body, answered.values(b"content-encoding")) == (200, body, [coding])


@pytest.mark.case("P-415")
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"Date: Mon, 01 Jan 2024 00:00:00 GMT", b"Server: one", b"Server: two", b"Date: again"],
        [b"sErVeR: Odd", b"X-Empty:", b"X-Tab: \ta\t", b"X-Obs: \xe9\xff", b"Vary: a", b"Vary: b"],
        [b'Alt-Svc: h3=":443"', b"Refresh: 0; url=/", b"Link: </a>", b"Proxy-Status: other; error=http_protocol_error"],
    ],
    ids=["none", "twice", "odd", "tempting"],
)
async def test_no_field_is_added_removed_merged_or_rewritten(case: Case, fields: list[bytes]):
    case.upstream.answers(replies(response(OK_BODY, *fields)))
    client = await case.connect()
    await client.send(case.request())
    head = (await client.read_until(b"\r\n\r\n"))[:-4]
    assert head.split(b"\r\n") == [b"HTTP/1.1 200 OK", *fields, b"Content-Length: %d" % len(OK_BODY)]


@pytest.mark.case("P-415")
@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200 ", "HTTP/1.1 200 Schön".encode(), b"HTTP/1.1 404 Not\tFound", b"HTTP/1.1 200 \xff"]
)
async def test_a_reason_is_kept_as_it_is(case: Case, line: bytes):
    case.upstream.answers(replies(line + b"\r\nContent-Length: 0\r\n\r\n"))
    client = await case.connect()
    await client.send(case.request())
    assert (await client.read_until(b"\r\n\r\n")).startswith(line + b"\r\n")


@pytest.mark.case("P-416")
@pytest.mark.parametrize("fields", [[b"Proxy-Authenticate: Basic realm=x"], []])
async def test_an_origin_may_not_ask_the_client_for_proxy_credentials(case: Case, fields: list[bytes]):
    case.upstream.answers(replies(response(b"", *fields, status=b"407 Proxy Authentication Required")))
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (502, "upstream_protocol_error")
    assert refused.values(b"proxy-authenticate") == []
    assert case.upstream_requests == 1


@pytest.mark.case("P-420", "D-144", "D-145")
@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"])
@pytest.mark.parametrize(
    "location",
    [b"https://elsewhere.example/a?b#c", b"http://127.0.0.1:1/x", b"//elsewhere.example/x", b"mailto:a@example.com"],
    ids=["elsewhere", "other-port", "no-scheme", "mail"],
)
async def test_a_redirect_to_another_origin_is_relayed_and_never_followed(case: Case, status: bytes, location: bytes):
    case.upstream.answers(replies(response(b"moved", b"Location: " + location, status=status)))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (int(status[:3]), b"moved")
    assert answered.values(b"location") == [location]
    assert case.upstream_requests == 1


@pytest.mark.case("P-420", "D-145")
@pytest.mark.parametrize(
    ("location", "path"),
    [
        pytest.param(b"http://127.0.0.1:PORT/a?b=c#d", b"/a?b=c#d", id="absolute"),
        pytest.param(b"/a?b=c", b"/a?b=c", id="path"),
        pytest.param(b"b?c", b"/dir/b?c", id="relative"),
        pytest.param(b"../b", b"/b", id="parent"),
        pytest.param(b"", b"/dir/x", id="same"),
        pytest.param(b"?page=2", b"/dir/x?page=2", id="query"),
        pytest.param(b"//127.0.0.1:PORT/a", b"/a", id="no-scheme"),
        pytest.param(b"HTTP://127.0.0.1:PORT/a", b"/a", id="capitals"),
    ],
)
async def test_a_redirect_within_the_upstream_stays_within_the_route(case: Case, location: bytes, path: bytes):
    location = location.replace(b"PORT", b"%d" % case.upstream.port)
    case.upstream.answers(
        replies(response(b"", b"Location: " + location, b"Content-Location: " + location, status=b"302 Found"))
    )
    answered = await case.ask(case.request(target=b"/dir/x"))
    [found] = answered.values(b"location")
    origin = b"http://%s:%d" % (case.stage.process.reverse[0].encode(), case.stage.process.reverse[1])
    assert found.removeprefix(origin) == case.prefix + path
    assert answered.values(b"content-location") == [found]


@pytest.mark.case("P-420", "D-145")
@pytest.mark.connection(base_url="http://127.0.0.1:PORT/api")
@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/api/a", b"/a"),
        (b"/api", b""),
        (b"/apix/a", None),
        (b"/other", None),
        (b"/api/../other", None),
        (b"a", b"/dir/a"),
    ],
    ids=["inside", "root", "lookalike", "outside", "dots", "relative"],
)
async def test_a_redirect_outside_the_path_of_the_base_url_is_relayed_as_it_came(
    case: Case, location: bytes, path: bytes | None
):
    case.upstream.answers(replies(response(b"", b"Location: " + location, status=b"302 Found")))
    [found] = (await case.ask(case.request(target=b"/dir/x"))).values(b"location")
    assert found == (location if path is None else case.prefix + path)


@pytest.mark.case("D-145")
@pytest.mark.connection(rewrite_location=False)
async def test_the_operator_may_have_redirects_left_alone(case: Case):
    case.upstream.answers(replies(response(b"", b"Location: /a", status=b"302 Found")))
    assert (await case.ask(case.request())).values(b"location") == [b"/a"]


@pytest.mark.case("P-420")
async def test_a_hundred_redirects_are_a_hundred_responses(case: Case):
    case.upstream.always(replies(response(b"", b"Location: /x", status=b"302 Found")))
    client = await case.connect()
    for _ in range(100):
        assert (await client.ask(case.request())).status == 302
    assert (case.upstream_requests, case.token_requests) == (100, 1)


TRAILED = ok(b"Transfer-Encoding: chunked", b"Trailer: X-T", body=b"5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")


@pytest.mark.case("P-210", "D-152")
async def test_trailers_of_a_response_reach_a_client_that_takes_them(case: Case):
    case.upstream.answers(replies(TRAILED))
    client = await case.connect()
    answered = await client.ask(case.request(b"TE: trailers", b"Connection: TE"))
    assert (answered.body, answered.trailers) == (b"hello", [(b"X-T", b"1")])
    assert (await client.ask(case.request())).body == OK_BODY


@pytest.mark.case("P-210", "D-152")
async def test_trailers_of_a_response_are_dropped_for_any_other_client(case: Case):
    case.upstream.answers(replies(TRAILED))
    client = await case.connect()
    answered = await client.ask(case.request())
    assert (answered.body, answered.trailers) == (b"hello", [])
    assert (await client.ask(case.request())).body == OK_BODY


@pytest.mark.case("P-210")
async def test_chunks_pass_as_they_come_but_for_their_extensions(case: Case):
    case.upstream.answers(
        replies(ok(b"Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0A\r\n, world, 1\r\n0;c\r\n\r\n"))
    )
    client = await case.connect()
    await client.send(case.request(b"Connection: close"))
    received = await client.read_rest()
    assert received.partition(b"\r\n\r\n")[2] == b"5\r\nhello\r\n0A\r\n, world, 1\r\n0\r\n\r\n"


@pytest.mark.case("D-124")
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_chunked_response_passes_whole_wherever_the_network_cuts_it(case: Case, size: int):
    chunks = b"".join(b"%x\r\n%b\r\n" % (n, b"y" * n) for n in range(1, 40)) + b"0\r\n\r\n"
    raw = ok(b"Transfer-Encoding: chunked", body=chunks)
    case.upstream.answers(replies(*(raw[at : at + size] for at in range(0, len(raw), size))))
    client = await case.connect()
    answered = await client.ask(case.request())
    assert answered.body == b"y" * sum(range(1, 40))
    assert (await client.ask(case.request())).body == OK_BODY
