"""What of a request reaches the upstream: all as it came, but for what a proxy must cut or set (RFC 9110 §7.6)."""

from __future__ import annotations

import gzip

import pytest

from tests.support.scripts import OK_BODY, echoes, replies, response
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ours(case: Case) -> list[tuple[bytes, bytes]]:
    """Return the two fields that this proxy sets on every request."""
    return [
        (b"Host", b"127.0.0.1:%d" % case.upstream.port),
        (b"Authorization", f"Bearer {case.token()}".encode()),
    ]


@pytest.mark.case("D-159")
async def test_a_bare_request_gains_nothing_but_host_and_credential(case: Case):
    assert (await case.ask(case.request())).status == 200
    [request] = case.upstream.requests
    assert request.line == b"GET /x HTTP/1.1"
    assert sorted(request.fields) == sorted(ours(case))


@pytest.mark.case("D-126", "D-159", "D-160")
async def test_fields_keep_their_order_case_spacing_and_duplicates(case: Case):
    lines = [
        b"aCCept: */*",
        b"X: 1",
        b"x-Odd_Name!#$%&'*+.^`|~: yes",
        b"X: 2",
        b"Empty:",
        b"tight:1",
        b"wide: \t 1 \t ",
        b"x: 3",
        b"Cookie: a=1",
        b"Cookie: b=2",
        b"Accept-Encoding: br;q=1.0, gzip",
        b"User-Agent: ",
        b'If-None-Match: "x"',
    ]
    assert (await case.ask(case.request(*lines))).status == 200
    head = case.upstream.requests[0].head
    kept = [line for line in head[:-4].split(b"\r\n")[1:] if not line.startswith((b"Host:", b"Authorization:"))]
    assert kept == lines


@pytest.mark.case("D-151")
async def test_a_nominated_field_goes_but_framing_and_host_stay(case: Case):
    raw = case.request(
        b"Connection: host, content-length, transfer-encoding, cookie, X-Gone",
        b"Cookie: a=b",
        b"x-gone: 1",
        b"X-Kept: 1",
        b"Content-Length: 5",
        method=b"POST",
        body=b"hello",
    )
    assert (await case.ask(raw)).status == 200
    [request] = case.upstream.requests
    assert request.body == b"hello"
    assert sorted(request.fields) == sorted([*ours(case), (b"Content-Length", b"5"), (b"X-Kept", b"1")])


@pytest.mark.case("D-151")
async def test_a_nominated_transfer_coding_still_frames_the_body(case: Case):
    raw = case.request(
        b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", method=b"POST", body=b"5\r\nhello\r\n0\r\n\r\n"
    )
    assert (await case.ask(raw)).status == 200
    assert (case.upstream.requests[0].chunked, case.upstream.requests[0].body) == (True, b"hello")


@pytest.mark.case("D-152")
@pytest.mark.parametrize(
    "field",
    [
        b"Proxy-Authorization: Basic Y2FuYXJ5LWE6Yg==",
        b"Proxy-Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"TE: gzip",
        b"Trailer: X-T",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"proxy-foo: 1",
    ],
    ids=lambda field: field.split(b":")[0].decode(),
)
async def test_a_hop_by_hop_field_never_crosses(case: Case, field: bytes):
    assert (await case.ask(case.request(field, b"X-Kept: 1"))).status == 200
    assert sorted(case.upstream.requests[0].fields) == sorted([*ours(case), (b"X-Kept", b"1")])


@pytest.mark.case("D-152")
async def test_connection_fields_never_cross(case: Case):
    raw = case.request(b"Connection: keep-alive", b"connection: X-A , ,X-B", b"X-A: 1", b"X-B: 2", b"X-C: 3")
    assert (await case.ask(raw)).status == 200
    assert sorted(case.upstream.requests[0].fields) == sorted([*ours(case), (b"X-C", b"3")])


@pytest.mark.case("D-156")
async def test_cookies_pass_and_are_never_kept(case: Case):
    case.upstream.answers(replies(response(OK_BODY, b"Set-Cookie: session=1", b"Set-Cookie: other=2; HttpOnly")))
    client = await case.connect()
    first = await client.ask(case.request(b"Cookie: mine=1"))
    assert first.values(b"set-cookie") == [b"session=1", b"other=2; HttpOnly"]
    await client.ask(case.request())
    assert [request.values(b"cookie") for request in case.upstream.requests] == [[b"mine=1"], []]


@pytest.mark.case("D-157")
async def test_forwarding_fields_pass_as_they_are_and_no_via_is_added_on_the_reverse_listener(case: Case):
    lines = [
        (b"X-Forwarded-For", b"192.0.2.1"),
        (b"X-Forwarded-Host", b"a"),
        (b"Forwarded", b"for=192.0.2.1"),
        (b"Via", b"1.0 fred"),
    ]
    assert (await case.ask(case.request(*(b"%b: %b" % line for line in lines)))).status == 200
    assert sorted(case.upstream.requests[0].fields) == sorted([*ours(case), *lines])


@pytest.mark.case("D-161")
@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"HEAD", b"PUT"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_any_method_may_have_a_body_and_keeps_its_framing(case: Case, method: bytes, chunked: bool):
    field, body = (
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n") if chunked else (b"Content-Length: 5", b"hello")
    )
    client = await case.connect()
    await client.send(case.request(field, method=method, body=body))
    assert (await client.response(method.decode())).status == 200
    [request] = case.upstream.requests
    assert (request.method, request.chunked, request.body, request.raw_body) == (method, chunked, b"hello", body)


@pytest.mark.case("D-162")
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
async def test_a_request_that_should_have_a_body_and_has_none_says_so(case: Case, method: bytes):
    assert (await case.ask(case.request(method=method))).status == 200
    assert case.upstream.requests[0].values(b"content-length") == [b"0"]


@pytest.mark.case("D-182")
async def test_a_compressed_body_passes_untouched(case: Case):
    body = gzip.compress(b"hello" * 1000)
    case.upstream.answers(echoes)
    raw = case.request(b"Content-Encoding: gzip", b"Content-Length: %d" % len(body), method=b"POST", body=body)
    assert (await case.ask(raw)).body == body
    assert (case.upstream.requests[0].body, case.upstream.requests[0].values(b"content-encoding")) == (body, [b"gzip"])


@pytest.mark.case("D-170")
@pytest.mark.parametrize("keep", [False, True], ids=["close", "keep-alive"])
async def test_a_client_of_http_1_0_gets_a_response_with_a_length_and_its_choice_of_close(case: Case, keep: bool):
    fields = [b"Connection: keep-alive"] if keep else []
    client = await case.connect()
    await client.send(case.raw(b"GET %s/x HTTP/1.0" % case.prefix, case.host, *fields))
    answered = await client.response()
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert answered.values(b"connection") == [b"keep-alive" if keep else b"close"]
    if keep:
        assert (await client.ask(case.request())).status == 200
    else:
        assert await client.is_closed()
    assert case.upstream.requests[0].line == b"GET /x HTTP/1.1"


@pytest.mark.case("D-170")
@pytest.mark.parametrize("keep", [False, True], ids=["close", "keep-alive"])
async def test_a_client_of_http_1_0_gets_no_chunks_but_a_body_that_ends_with_the_stream(case: Case, keep: bool):
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nX-T: 1\r\n\r\n"
    )
    case.upstream.answers(replies(chunks))
    client = await case.connect()
    await client.send(
        case.raw(b"GET %s/x HTTP/1.0" % case.prefix, case.host, *([b"Connection: keep-alive"] if keep else []))
    )
    head, _, body = (await client.read_rest()).partition(b"\r\n\r\n")
    assert body == b"hello, world"
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nConnection: close" in head


@pytest.mark.case("D-170")
async def test_a_client_of_http_1_0_gets_no_interim_response(case: Case):
    case.upstream.answers(replies(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + response()))
    client = await case.connect()
    await client.send(case.raw(b"GET %s/x HTTP/1.0" % case.prefix, case.host))
    received = await client.read_rest()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(OK_BODY)


@pytest.mark.case("D-170")
async def test_a_client_of_http_1_0_need_not_name_a_host(case: Case):
    client = await case.connect()
    await client.send(case.raw(b"GET %s/x HTTP/1.0" % case.prefix))
    answered = await client.response()
    assert answered.status in {200, 421}  # without a name it may be meant for anyone; but it is well-formed
    assert case.upstream.malformed == []


@pytest.mark.case("D-139")
@pytest.mark.parametrize("path", [b"/", b"/nobody", b"/nobody/x", b"", b"?a"])
async def test_a_path_that_no_route_claims_has_no_route(case: Case, path: bytes):
    target = path if path.startswith(b"/") else case.prefix + b"x" + path
    refused = await case.ask(case.raw(b"GET %s HTTP/1.1" % target, case.host))
    assert (refused.status, refused.code) == (404, "no_route")
    assert (case.upstream_requests, case.token_requests) == (0, 0)
