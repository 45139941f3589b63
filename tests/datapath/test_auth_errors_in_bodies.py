"""Responses whose body has to be read before anybody knows whether they are auth errors."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, replies, replies_then_fin, replies_then_resets, response
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "limits": {
        "replay_memory": "1MiB",
        "token_wait": "2s",
        "backoff": {"min": "50ms", "max": "200ms"},
        "inspect_raw": "8KiB",
        "inspect_decoded": "32KiB",
        "inspect_hold": "300ms",
    }
}
NOT_REPLAYABLE = b'iclient-proxy; details="auth-retry-not-replayable"'
JSON = b"Content-Type: application/json"
XML = b"Content-Type: text/xml; charset=utf-8"
DEAD = b'{"error": {"code": "INVALID_SESSION"}, "more": [1, 2]}'
RULES = [{"path": "error.code", "values": ["INVALID_SESSION", "EXPIRED_*"]}]
rules = pytest.mark.connection(auth_errors=RULES)


def said(body: bytes, *fields: bytes, status: bytes = b"400 Bad Request") -> bytes:
    return response(body, *(fields or (JSON,)), status=status)


def chunked(*pieces: bytes, fields: tuple[bytes, ...] = (JSON,), status: bytes = b"400 Bad Request") -> bytes:
    head = b"\r\n".join((b"HTTP/1.1 " + status, *fields, b"Transfer-Encoding: chunked")) + b"\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


async def expect_replay(case: Case, raw: bytes) -> None:
    """The token is renewed and the application sees the second response only."""
    case.upstream.answers(replies(raw))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert (case.upstream_requests, case.token_requests) == (2, 2)
    assert [request.token for request in case.upstream.requests] == [case.token(1), case.token(2)]


async def expect_relay(case: Case, raw: bytes) -> None:
    """The application sees what the upstream said, byte for byte, and nothing is renewed."""
    case.upstream.answers(replies(raw))
    client = await case.connect()
    await client.send(case.request())
    assert await client.read_exactly(len(raw)) == raw
    assert (case.upstream_requests, case.token_requests) == (1, 1)


async def expect(case: Case, is_error: bool, raw: bytes) -> None:
    await (expect_replay if is_error else expect_relay)(case, raw)


# ------------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.case("P-238")
@rules
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(said(DEAD), id="length"),
        pytest.param(chunked(DEAD), id="chunked"),
        pytest.param(chunked(*(DEAD[at : at + 1] for at in range(len(DEAD)))), id="chunks-of-a-byte"),
        pytest.param(said(b'{"error": {"code": "EXPIRED_LONG_AGO"}}'), id="prefix"),
        pytest.param(said(DEAD, b"X-A: 1"), id="no-media-type"),
        pytest.param(said(DEAD, b"content-TYPE:\ttext/plain"), id="text"),
        pytest.param(said(DEAD, b"Content-Type: application/problem+json;charset=UTF-8"), id="suffix"),
        pytest.param(said(DEAD, b"Content-Type: application/javascript"), id="javascript"),
        pytest.param(said(DEAD, status=b"200 OK"), id="200"),
        pytest.param(said(DEAD, status=b"503 Service Unavailable"), id="503"),
        pytest.param(said(b" \r\n\t" + DEAD + b"\r\n"), id="space-around"),
        pytest.param(response(b"{}", status=b"401 Unauthorized"), id="the-added-401"),
        pytest.param(response(b"<html>", b"Content-Type: text/html", status=b"401 Unauthorized"), id="401-of-html"),
    ],
)
async def test_an_auth_error_in_the_body_renews_and_replays(case: Case, raw: bytes):
    await expect_replay(case, raw)


@pytest.mark.case("P-238")
@rules
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(said(b'{"error": {"code": "OTHER"}}'), id="other-value"),
        pytest.param(said(b'{"error": {"code": "invalid_session"}}'), id="other-case"),
        pytest.param(said(b'{"error": {"code": "INVALID_SESSIONS"}}'), id="longer"),
        pytest.param(said(b'{"error": {"code": ["INVALID_SESSION"]}}'), id="list"),
        pytest.param(said(b'{"error": {"code": {"INVALID_SESSION": 1}}}'), id="object"),
        pytest.param(said(b'{"error": "INVALID_SESSION"}'), id="path-ends-early"),
        pytest.param(said(b'{"data": {"error": {"code": "INVALID_SESSION"}}}'), id="deeper"),
        pytest.param(said(b'"INVALID_SESSION"'), id="scalar"),
        pytest.param(said(b""), id="empty"),
        pytest.param(said(b"   "), id="only-space"),
        pytest.param(said(DEAD[:-1]), id="broken-json"),
        pytest.param(said(DEAD + b"x"), id="more-than-json"),
        pytest.param(said(b"<error><code>INVALID_SESSION</code></error>"), id="xml"),
        pytest.param(said(DEAD, b"Content-Type: application/octet-stream"), id="octets"),
        pytest.param(said(DEAD, b"Content-Type: image/png"), id="image"),
        pytest.param(said(DEAD, b"Content-Type: application/x-ndjson"), id="ndjson"),
        pytest.param(said(DEAD, b"Content-Type: application/grpc"), id="grpc"),
        pytest.param(said(DEAD, b"Content-Type: text/event-stream"), id="events"),
    ],
)
async def test_what_no_rule_matches_is_relayed_as_it_came(case: Case, raw: bytes):
    await expect_relay(case, raw)


@pytest.mark.case("P-242")
@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        pytest.param(b'{"e": 190}', True, id="number"),
        pytest.param(b'{"e": "190"}', True, id="number-as-text"),
        pytest.param(b'{"e": 190.0}', True, id="number-with-fraction"),
        pytest.param(b'{"e": 1.9e2}', True, id="number-with-exponent"),
        pytest.param(b'{"e": 1900}', False, id="other-number"),
        pytest.param(b'{"e": true}', True, id="true"),
        pytest.param(b'{"e": false}', False, id="false"),
        pytest.param(b'{"e": null}', True, id="null"),
        pytest.param(b'{"e": "x", "e": 190}', True, id="duplicate-last"),
        pytest.param(b'{"e": 190, "e": "x"}', False, id="duplicate-first"),
        pytest.param(b'{"\\u0065": "\\u0031\\u0039\\u0030"}', True, id="escapes"),
        pytest.param(b'{"e": ' + b"9" * 5000 + b"}", False, id="huge-number"),
        pytest.param(b'{"e": 1e999999}', False, id="infinite-number"),
        pytest.param(b"\xef\xbb\xbf" + b'{"e": 190}', True, id="bom"),
        pytest.param('{"e": 190}'.encode("utf-16"), True, id="utf-16"),
        pytest.param('{"e": 190}'.encode("utf-16-be"), True, id="utf-16-without-bom"),
        pytest.param(b'{"e": 190, "a": ' + b"[" * 63 + b"]" * 63 + b"}", True, id="depth-64"),
        pytest.param(b'{"e": 190, "a": ' + b"[" * 64 + b"]" * 64 + b"}", False, id="depth-65"),
        pytest.param(b'{"e": 190, "a": "' + b"[" * 100 + b'"}', True, id="brackets-in-text"),
        pytest.param(b'{"e": 190, "a": ' + b"[" * 3000 + b"]" * 3000 + b"}", False, id="depth-3000"),
        pytest.param(b'{"e": ' * 1000, False, id="never-closed"),
        pytest.param(b'{"e": 190, "a": "\xff\xfe"}', True, id="not-utf-8-elsewhere"),
        pytest.param(b'{"e": "\xff190"}', False, id="not-utf-8"),
        pytest.param(b'[{"e": 1}, {"e": 190}]', False, id="other-root"),
    ],
)
@pytest.mark.connection(auth_errors=[{"path": "e", "values": "190, true,null"}])
async def test_json_scalars_are_compared_in_their_canonical_text(case: Case, body: bytes, is_error: bool):
    await expect(case, is_error, said(body))


@pytest.mark.case("P-242")
@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        pytest.param(b'[{"code": 1}, {"code": 602}]', True, id="indexed"),
        pytest.param(b'[{"code": 602}]', False, id="shorter"),
        pytest.param(b"[]", False, id="empty"),
        pytest.param(b'{"1": {"code": 602}}', True, id="a-number-as-name"),
        pytest.param(b"602", False, id="scalar"),
    ],
)
@pytest.mark.connection(auth_errors=[{"path": "1.code", "values": [602]}])
async def test_a_path_leads_through_lists(case: Case, body: bytes, is_error: bool):
    await expect(case, is_error, said(body))


@pytest.mark.case("P-242")
@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (b'{"error": "anything"}', True),
        (b'{"error": 0}', True),
        (b'{"error": true}', True),
        (b'{"error": [1]}', True),
        (b'{"error": {"a": 1}}', True),
        (b'{"error": ""}', False),
        (b'{"error": null}', False),
        (b'{"error": false}', False),
        (b'{"error": [ ]}', False),
        (b'{"error": {}}', False),
        (b"{}", False),
    ],
)
@pytest.mark.connection(auth_errors=[{"path": "error"}])
async def test_a_path_without_values_matches_what_says_something(case: Case, body: bytes, is_error: bool):
    await expect(case, is_error, said(body, status=b"200 OK"))


@pytest.mark.connection(
    auth_errors={
        "any": [{"status": 403}, {"status": [401], "path": "error", "values": "expired"}],
        "never": [{"status": [403], "path": "error", "values": ["insufficient_scope"]}],
    }
)
@pytest.mark.case("P-235")
@pytest.mark.parametrize(
    ("status", "body", "is_error"),
    [
        (b"403 Forbidden", b'{"error": "insufficient_scope"}', False),
        (b"403 Forbidden", b'{"error": "token"}', True),
        (b"403 Forbidden", b"no json", True),
        (b"403 Forbidden", b"", True),
        (b"401 Unauthorized", b'{"error": "expired"}', True),
        (b"401 Unauthorized", b'{"error": "other"}', False),
        (b"200 OK", b'{"error": "expired"}', False),
    ],
)
async def test_never_wins_and_a_rule_is_narrowed_by_its_path(case: Case, status: bytes, body: bytes, is_error: bool):
    await expect(case, is_error, said(body, status=status))


FAULT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    b' xmlns:sf="urn:fault.example"><soapenv:Body><soapenv:Fault><faultcode>\n CODE </faultcode><faultstring>no'
    b"</faultstring></soapenv:Fault></soapenv:Body></soapenv:Envelope>"
)
SOAP = [{"name": "soap", "path": "//*[local-name()='Fault']/faultcode", "values": ["sf:INVALID_SESSION_ID"]}]
EXPIRED = FAULT.replace(b"CODE", b"sf:INVALID_SESSION_ID")
ENTITY = b'<!DOCTYPE a [<!ENTITY e "sf:INVALID_SESSION_ID">]>'


@pytest.mark.connection(auth_errors=SOAP)
@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        pytest.param(EXPIRED, True, id="fault"),
        pytest.param(FAULT, False, id="other-fault"),
        pytest.param(EXPIRED.decode().replace("UTF-8", "UTF-16").encode("utf-16"), True, id="utf-16"),
        pytest.param(EXPIRED.partition(b"\n")[2].replace(b"sf:INVALID", b"<![CDATA[sf:INVALID]]>"), True, id="cdata"),
        pytest.param(EXPIRED[:-1], False, id="cut"),
        pytest.param(EXPIRED.replace(b"<soapenv:Body>", b"<soapenv:Body>" + b"<a>" * 70, 1), False, id="deep"),
        pytest.param(EXPIRED.replace(b"<soapenv:Body>", b"<soapenv:Body>" + b"<a/>" * 300, 1), False, id="large"),
        pytest.param(EXPIRED.replace(b"\n<soap", ENTITY + b"<soap", 1), False, id="document-type"),
        pytest.param(b"<!DOCTYPE html><html><br></html>", False, id="html"),
        pytest.param(b"{}", False, id="json"),
        pytest.param(b"<", False, id="one-character"),
    ],
)
async def test_xpath_reads_faults_and_refuses_declarations(case: Case, body: bytes, is_error: bool):
    await expect(case, is_error, said(body, XML, status=b"500 Internal Server Error"))


# -------------------------------------------------------------------------------------------------------------- codings


def deflated_raw(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


CODED: list[Any] = [
    pytest.param(b"gzip", gzip.compress, id="gzip"),
    pytest.param(b"X-GZip", gzip.compress, id="x-gzip"),
    pytest.param(b"gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]), id="gzip-members"),
    pytest.param(b"deflate", zlib.compress, id="deflate-zlib"),
    pytest.param(b"deflate", deflated_raw, id="deflate-raw"),
    pytest.param(b"br", brotli.compress, id="br"),
    pytest.param(b"zstd", zstd, id="zstd"),
    pytest.param(b"gzip, gzip", lambda data: gzip.compress(gzip.compress(data)), id="gzip-twice"),
    pytest.param(b"br,identity , zstd", lambda data: zstd(brotli.compress(data)), id="br-then-zstd"),
]


@pytest.mark.case("P-240")
@rules
@pytest.mark.parametrize(("coding", "encode"), CODED)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_coded_body_is_read(case: Case, coding: bytes, encode: Callable[[bytes], bytes], framing: str):
    body = encode(DEAD)
    fields = (JSON, b"Content-Encoding: " + coding)
    raw = chunked(body[:7], body[7:], fields=fields) if framing == "chunked" else said(body, *fields)
    await expect_replay(case, raw)


@pytest.mark.case("P-240", "P-414")
@rules
@pytest.mark.parametrize(("coding", "encode"), CODED)
async def test_a_coded_body_that_says_nothing_of_the_token_is_relayed_as_it_came(
    case: Case, coding: bytes, encode: Callable[[bytes], bytes]
):
    await expect_relay(case, said(encode(b'{"error": {"code": "OTHER"}}'), JSON, b"Content-Encoding: " + coding))


BLANKS = b" " * 40_000


@pytest.mark.case("P-240", "P-414")
@rules
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param(b"gzip", DEAD, id="not-gzip"),
        pytest.param(b"gzip", gzip.compress(DEAD)[:-5], id="gzip-cut"),
        pytest.param(b"gzip", gzip.compress(DEAD) + b"xx", id="gzip-and-more"),
        pytest.param(b"deflate", b"\x78\x9c\x00", id="not-deflate"),
        pytest.param(b"deflate", zlib.compress(DEAD) + b"xx", id="deflate-and-more"),
        pytest.param(b"br", DEAD, id="not-br"),
        pytest.param(b"br", brotli.compress(DEAD)[:-3], id="br-cut"),
        pytest.param(b"zstd", gzip.compress(DEAD), id="wrong-label"),
        pytest.param(b"zstd", zstd(DEAD)[:-4], id="zstd-cut"),
        pytest.param(b"compress", DEAD, id="unknown"),
        pytest.param(b"gzip, gzip", gzip.compress(DEAD), id="labelled-twice"),
        pytest.param(b"gzip, gzip, gzip, gzip, gzip", gzip.compress(DEAD), id="too-many"),
        pytest.param(b"gzip", gzip.compress(DEAD + BLANKS), id="gzip-too-large"),
        pytest.param(b"br", brotli.compress(DEAD + BLANKS), id="br-too-large"),
        pytest.param(b"br", brotli.compress(DEAD, lgwin=23), id="br-wide"),
        pytest.param(b"br", brotli.compress(DEAD, lgwin=24), id="br-wider"),
        pytest.param(b"zstd", zstd(DEAD + BLANKS), id="zstd-too-large"),
        pytest.param(b"gzip", gzip.compress(DEAD + b" " * 20_000), id="gzip-ratio"),
        pytest.param(b"gzip,gzip", gzip.compress(gzip.compress(b"a" * 2_000_000)), id="gzip-bomb-twice"),
        pytest.param(b"zstd", zstd(DEAD + b" " * 20_000), id="zstd-ratio"),
    ],
)
async def test_a_body_that_can_not_be_decoded_within_bounds_is_relayed_as_it_came(
    case: Case, coding: bytes, body: bytes
):
    await expect_relay(case, said(body, JSON, b"Content-Encoding: " + coding))


# --------------------------------------------------------------------------------------------------------------- bounds


def padded(size: int) -> bytes:
    """Return an auth error of exactly that many bytes."""
    body = json.dumps({"pad": "", "error": {"code": "INVALID_SESSION"}}).encode()
    return body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"', 1)


@pytest.mark.case("P-241")
@rules
@pytest.mark.parametrize(("size", "is_error"), [(8191, True), (8192, True), (8193, False)])
@pytest.mark.parametrize("framing", ["length", "until-the-end"])
async def test_a_body_is_read_up_to_the_limit(case: Case, size: int, is_error: bool, framing: str):
    body = padded(size)
    if framing == "length":
        await expect(case, is_error, said(body))
        return
    head = b"HTTP/1.1 400 Bad Request\r\n" + JSON + b"\r\n\r\n"
    case.upstream.answers(replies_then_fin(head + body))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == ((200, OK_BODY) if is_error else (400, body))
    assert case.token_requests == (2 if is_error else 1)


@pytest.mark.case("P-241")
@rules
async def test_a_body_without_end_streams_on_at_the_limit(case: Case):
    gate, piece = asyncio.Event(), b"[" + b'"",' * 1000

    async def endless(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\n" + JSON + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await request.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await gate.wait()
        await request.send(b"0\r\n\r\n")

    case.upstream.answers(endless)
    client = await case.connect()
    await client.send(case.request())
    seen = await client.read_until(piece + b"\r\n")  # before the upstream is let go on
    gate.set()
    assert (seen + await client.read_until(b"0\r\n\r\n")).count(piece) == 3
    assert case.token_requests == 1


@pytest.mark.case("P-241")
@rules
@pytest.mark.parametrize("framing", ["length", "chunked", "gzip"])
async def test_a_body_that_takes_too_long_streams_on(case: Case, framing: str):
    gate = asyncio.Event()
    raw = {
        "length": said(DEAD),
        "chunked": chunked(DEAD[:20], DEAD[20:]),
        "gzip": said(gzip.compress(DEAD), JSON, b"Content-Encoding: gzip"),
    }[framing]
    case.upstream.answers(replies(raw[:-20], gate, raw[-20:]))
    client = await case.connect()
    await client.send(case.request())
    assert await client.read_exactly(len(raw) - 20) == raw[:-20]  # while the upstream holds back the rest
    gate.set()
    assert await client.read_exactly(20) == raw[-20:]
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@pytest.mark.case("P-244")
@rules
@pytest.mark.parametrize(
    ("media_type", "first"),
    [
        (b"text/event-stream", b"data: {\n\n"),
        (b"text/event-stream; charset=utf-8", b"{"),
        (b"application/grpc", b"{"),
        (b"application/grpc+proto", b"{"),
        (b"application/x-ndjson", b"{"),
        (b"application/octet-stream", b"{"),
        (b"text/html", b"\n  <html>"),
        (b"application/json", b"<"),
    ],
)
@pytest.mark.parametrize("framing", ["chunked", "until-the-end"])
async def test_a_stream_that_no_rule_can_read_is_never_held(case: Case, media_type: bytes, first: bytes, framing: str):
    gate = asyncio.Event()
    fields = b"HTTP/1.1 200 OK\r\nContent-Type: " + media_type
    if framing == "chunked":
        script = replies(
            fields + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(first), first), gate, b"0\r\n\r\n"
        )
    else:
        script = replies_then_fin(fields + b"\r\n\r\n" + first, gate, b"more")
    case.upstream.answers(script)
    client = await case.connect()
    await client.send(case.request())
    await client.read_until(first)  # before the upstream says another byte
    gate.set()
    await client.read_until(b"0\r\n\r\n" if framing == "chunked" else b"more")
    assert case.token_requests == 1


@pytest.mark.case("P-244")
@rules
async def test_a_stream_of_events_is_judged_by_its_status(case: Case):
    await expect_replay(case, response(b"data: x\n\n", b"Content-Type: text/event-stream", status=b"401 Unauthorized"))


@rules
@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_body_that_breaks_off_while_it_is_read_is_cut_for_the_application_too(case: Case, end: str):
    raw = said(DEAD)[:-10]
    case.upstream.answers((replies_then_fin if end == "fin" else replies_then_resets)(raw))
    client = await case.connect()
    await client.send(case.request())
    seen = await client.read_rest()
    assert raw.startswith(seen)
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@pytest.mark.case("P-412")
@rules
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
async def test_a_response_to_head_has_no_body_to_read(case: Case, status: bytes):
    case.upstream.answers(replies(b"HTTP/1.1 " + status + b"\r\n" + JSON + b"\r\nContent-Length: 50\r\n\r\n"))
    answered = await case.ask(case.request(method=b"HEAD"))
    assert (answered.status, answered.values(b"content-length"), answered.body) == (int(status[:3]), [b"50"], b"")
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@pytest.mark.case("P-413")
@rules
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_body_is_not_waited_for(case: Case, status: bytes):
    case.upstream.answers(replies(b"HTTP/1.1 " + status + b"\r\n" + JSON + b"\r\n\r\n"))
    client = await case.connect()
    assert (await client.ask(case.request())).status == int(status[:3])
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@rules
async def test_an_application_that_leaves_while_a_body_is_read_ends_the_upstream_request(case: Case):
    case.upstream.answers(replies(said(DEAD)[:-10], asyncio.Event()))
    client = await case.connect()
    await client.send(case.request())
    await case.upstream.arrived()
    client.reset()
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()
    case.upstream.requests[0].stream.task.cancel()
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@pytest.mark.case("D-176", "D-180", "P-241")
@pytest.mark.connection(auth_errors=RULES, replay={"body_limit": "600KiB"})
async def test_whoever_leaves_at_whatever_moment_gives_the_memory_for_replays_back(case: Case):
    body = b"x" * 600 * 1024  # the memory is for one of them
    asked = case.request(b"Content-Length: %d" % len(body), method=b"POST", body=body)
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
    never = asyncio.Event()
    moments = {
        "before the response": replies(never),
        "while its body is read": replies(head + b'{"error": ', never),
        "after an interim response": replies(b"HTTP/1.1 103 Early Hints\r\n\r\n", never),
        "within the response": replies(head + b"no error" + b" " * 20, never),
    }
    for number, script in enumerate(moments.values(), 1):
        case.upstream.answers(script)
        client = await case.connect()
        await client.send(asked)
        request = await case.upstream.arrived(number)
        await eventually("the whole upload", lambda request=request: request.body_complete)
        client.reset()
        await request.gone()
    case.upstream.answers(replies_then_resets(head + b'{"error": '))
    assert (await case.ask(asked)).complete is False
    left = await case.connect()
    await left.send(asked[:-1])
    left.reset()
    await eventually("nothing under way", lambda: nothing_under_way(case))
    case.upstream.answers(replies(said(DEAD)))
    before = case.upstream_requests
    answered = await case.ask(asked)
    assert (answered.status, case.upstream_requests, case.token_requests) == (200, before + 2, 2)


async def nothing_under_way(case: Case) -> bool:
    return await case.stage.process.metric("in_flight_requests") == 0


@pytest.mark.case("P-243")
@rules
async def test_a_response_that_repeats_the_token_is_relayed_as_it_came(case: Case):
    async def echoes_the_head(request: Request) -> None:
        await request.send(said(json.dumps({"head": request.head.decode()}).encode(), JSON, b"X-Seen: " + token))

    token = case.token(1).encode()
    case.upstream.answers(echoes_the_head)
    answered = await case.ask(case.request())
    assert (answered.status, answered.values(b"x-seen")) == (400, [token])
    assert token in answered.body


@rules
async def test_pipelined_requests_keep_their_order_while_a_body_is_read(case: Case):
    case.upstream.answers(replies(chunked(DEAD[:9], DEAD[9:])))
    client = await case.connect()
    await client.send(case.request() + case.request(target=b"/second"))
    first, second = await client.response(), await client.response()
    assert (first.status, second.status) == (200, 200)
    assert [request.target for request in case.upstream.requests] == [b"/x", b"/x", b"/second"]


@rules
async def test_an_old_client_gets_a_chunked_body_that_was_read_without_its_framing(case: Case):
    case.upstream.answers(replies(chunked(b'{"error": {"code":', b' "OTHER"}}')))
    client = await case.connect()
    await client.send(case.raw(b"GET %b/x HTTP/1.0" % case.prefix, case.host))
    answered = await client.response()
    assert (answered.status, answered.body) == (400, b'{"error": {"code": "OTHER"}}')


# --------------------------------------------------------------------------------------------------------------- replay


@pytest.mark.case("P-239")
@pytest.mark.parametrize(
    ("method", "replayed"), [(b"GET", True), (b"PUT", True), (b"POST", False), (b"PATCH", False), (b"FOO", False)]
)
@rules
async def test_a_refusal_as_200_is_replayed_for_idempotent_methods_only(case: Case, method: bytes, replayed: bool):
    raw = said(DEAD, status=b"200 OK")
    case.upstream.answers(replies(raw))
    client = await case.connect()
    answered = await client.ask(case.request(b"Content-Length: 5", method=method, body=b"hello"))
    if replayed:
        assert answered.body == OK_BODY
        assert [request.body for request in case.upstream.requests] == [b"hello", b"hello"]
    else:
        assert (answered.status, answered.body) == (200, DEAD)
        assert answered.values(b"proxy-status") == [NOT_REPLAYABLE]
        async with awaiting("the renewal for the next request"):
            await case.stage.tokens.asked_by(case.name, 2)
        assert (await client.ask(case.request())).status == 200
        assert case.upstream.requests[-1].token == case.token(2)
    assert (case.upstream_requests, case.token_requests) == (2, 2)


@pytest.mark.case("P-239")
@pytest.mark.connection(auth_errors=RULES, replay={"on_success_status": "all"})
async def test_a_refusal_as_200_is_replayed_for_every_method_where_the_operator_says_so(case: Case):
    case.upstream.answers(replies(said(DEAD, status=b"200 OK")))
    answered = await case.ask(case.request(b"Content-Length: 5", method=b"POST", body=b"hello"))
    assert answered.body == OK_BODY
    assert (case.upstream_requests, case.token_requests) == (2, 2)


@pytest.mark.connection(auth_errors=RULES, replay={"on_success_status": "never"})
async def test_a_refusal_as_200_is_never_replayed_where_the_operator_says_so(case: Case):
    case.upstream.answers(replies(said(DEAD, status=b"200 OK")))
    answered = await case.ask(case.request())
    assert (answered.body, answered.values(b"proxy-status")) == (DEAD, [NOT_REPLAYABLE])
    async with awaiting("the renewal for the next request"):
        await case.stage.tokens.asked_by(case.name, 2)


@pytest.mark.case("P-236", "P-232")
@rules
async def test_a_refusal_in_the_body_while_the_upload_runs_is_relayed_and_the_upload_ends(case: Case):
    async def early(request: Request) -> None:
        await request.send(said(DEAD))
        await request.gone()
        request.finished = True

    case.upstream.answers(early)
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 1000000", method=b"POST", body=b"x" * 1000))
    relayed = await client.response("POST")
    assert (relayed.status, relayed.body, relayed.values(b"proxy-status")) == (400, DEAD, [NOT_REPLAYABLE])
    async with awaiting("the renewal for the next request"):
        await case.stage.tokens.asked_by(case.name, 2)
    assert await client.is_closed()
    assert case.upstream_requests == 1


@pytest.mark.case("P-234")
@rules
async def test_a_refusal_of_the_replay_in_the_body_is_the_upstreams_own_word(case: Case):
    case.upstream.always(replies(said(DEAD)))
    client = await case.connect()
    for number in range(3):
        relayed = await client.ask(case.request())
        assert (relayed.status, relayed.body, relayed.values(b"proxy-status")) == (400, DEAD, [])
        assert case.upstream_requests == 2 + number
    assert case.token_requests == 2


# -------------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.connection(
    auth_errors=[{"name": "session", "path": "error.code", "values": "INVALID_SESSION"}, {"path": "expired"}]
)
async def test_metrics_name_every_rule_from_the_start_and_count_the_one_that_matched(case: Case):
    text = (await case.stage.process.admin_get("/metrics")).body.decode()
    for rule in ("session", "any[1]", "status-401"):
        assert f'auth_errors_total{{connection="{case.name}",rule="{rule}"}} 0\n' in text
    await expect_replay(case, said(DEAD))
    case.upstream.answers(replies(said(b'{"expired": true}')), replies(said(DEAD)))
    assert (await case.ask(case.request())).body == DEAD

    text = (await case.stage.process.admin_get("/metrics")).body.decode()
    for rule, count in {"session": 2, "any[1]": 1, "status-401": 0}.items():
        assert f'auth_errors_total{{connection="{case.name}",rule="{rule}"}} {count}\n' in text
    for outcome in ("accepted", "refused"):
        assert f'replays_total{{connection="{case.name}",outcome="{outcome}"}} 1\n' in text
