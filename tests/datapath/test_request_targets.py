"""What a request may name: targets pass byte for byte, hosts are this listener's or nobody's (RFC 9112 §3)."""

from __future__ import annotations

import pytest

from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


@pytest.mark.case("D-132", "D-133")
@pytest.mark.parametrize(
    "target",
    named(
        space=b"/a b",
        nul=b"/a\x00b",
        obs_text=b"/\xe9",
        utf8="/é".encode(),
        quote=b'/a"b',
        less=b"/a<b",
        greater=b"/a>b",
        backtick=b"/a`b",
        brace=b"/a{b",
        closing_brace=b"/a}b",
        delete=b"/a\x7fb",
        tab=b"/a\tb",
        fragment=b"/a#b",
        fragment_after_query=b"/a?b#c",
        vertical_tab=b"/a\x0bb",
        carriage_return=b"/a\rb",
        quote_in_query=b'/a?"',
    ),
)
async def test_a_target_with_a_character_no_uri_has_is_refused(case: Case, target: bytes):
    await case.assert_refused(case.request(target=target))


@pytest.mark.case("D-132")
@pytest.mark.parametrize("separator", named(two_spaces=b"  ", tab=b"\t", form_feed=b"\x0c", no_break=b"\xa0"))
@pytest.mark.parametrize("place", [0, 1])
async def test_a_request_line_with_other_separators_is_refused(case: Case, separator: bytes, place: int):
    line, rest = case.request().split(b"\r\n", 1)
    parts = line.split(b" ")
    line = (
        parts[0] + separator + parts[1] + b" " + parts[2] if place == 0 else b" ".join(parts[:2]) + separator + parts[2]
    )
    await case.assert_refused(line + b"\r\n" + rest)


@pytest.mark.case("D-134")
@pytest.mark.parametrize("length", [16 * 1024 + 1, 60_000])
async def test_a_target_beyond_its_limit_is_refused(case: Case, length: int):
    target = b"/" + b"a" * (length - 1 - len(case.prefix))
    await case.assert_refused(case.request(target=target), 414, "target_too_long")


@pytest.mark.case("D-134")
async def test_a_target_at_its_limit_passes(case: Case):
    target = b"/" + b"a" * (16 * 1024 - 1 - len(case.prefix))
    assert (await case.ask(case.request(target=target))).status == 200
    assert case.upstream.requests[0].target == target


RAW_TARGETS = named(
    nul=b"/a%00b",
    line_end=b"/a%0d%0ab",
    dots=b"/%2e%2e%2fa",
    slash=b"/a%2Fb",
    backslash=b"/a%5cb",
    two_slashes=b"//a//b",
    parent=b"/a/../b",
    here=b"/./a",
    parameter=b"/a;p=1/b",
    plus=b"/a+b",
    mixed_case=b"/%7ea%7Eb%c3%A9",
    brackets=b"/a[1]",
    pipe=b"/a|b",
    caret=b"/a^b",
    backslash_raw=b"/a\\b",
    bad_escape=b"/100%",
    query=b"/a?b=%2f&c=+&&d&=e",
    question=b"/a??b?",
    empty_query=b"/a?",
    query_only=b"?a=/../b",
    tilde=b"/~a",
    colon=b"/a:b@c",
    star=b"/*",
    quote=b"/a'b",
)


@pytest.mark.case("D-135")
@pytest.mark.parametrize("target", RAW_TARGETS)
async def test_a_target_reaches_the_upstream_byte_for_byte(case: Case, target: bytes):
    assert (await case.ask(case.request(target=target))).status == 200
    wanted = target if target.startswith(b"/") else b"/" + target
    assert [request.line for request in case.upstream.requests] == [b"GET " + wanted + b" HTTP/1.1"]


DOT_SEGMENTS = named(
    parent=b"/a/../b",
    first=b"/../a",
    escaped=b"/%2e%2e/a",
    half_escaped=b"/.%2E/a",
    here=b"/./a",
    last=b"/a/..",
    last_here=b"/a/.",
)


@pytest.mark.case("D-135")
@pytest.mark.connection(base_url="http://127.0.0.1:PORT/base")
@pytest.mark.parametrize("target", DOT_SEGMENTS)
async def test_dot_segments_are_refused_where_the_base_url_has_a_path(case: Case, target: bytes):
    client = await case.connect()
    refused = await client.ask(case.request(target=target))
    assert (refused.status, refused.code) == (400, "bad_request")
    assert case.upstream_requests == 0
    assert (await case.ask(case.request(target=b"/a..b/c?d=/../e"))).status == 200
    assert case.upstream.requests[0].target == b"/base/a..b/c?d=/../e"


@pytest.mark.case("D-135")
@pytest.mark.connection(allowed_paths=["/open", "/afterwards"])
@pytest.mark.parametrize(
    "target", named(parent=b"/open/../shut", escaped=b"/open/%2e%2e/shut", mixed=b"/open/%2E./shut")
)
async def test_dot_segments_are_refused_where_paths_are_allowed_one_by_one(case: Case, target: bytes):
    refused = await case.ask(case.request(target=target))
    assert (refused.status, refused.code) == (400, "bad_request")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-139")
@pytest.mark.parametrize(
    "host",
    named(other=b"evil.example", rebinding=b"127.0.0.1.evil.example", other_ip=b"192.0.2.1", suffix=b"localhost.evil"),
)
async def test_a_host_that_is_not_this_listener_is_misdirected(case: Case, host: bytes):
    refused = await case.ask(case.raw(b"GET %s/x HTTP/1.1" % case.prefix, b"Host: " + host))
    assert (refused.status, refused.code) == (421, "misdirected_request")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-139")
@pytest.mark.parametrize(
    "host",
    named(
        name=b"localhost",
        name_and_port=b"localhost:1",
        capitals=b"LOCALHOST",
        address=b"127.0.0.1",
        other_port=b"127.0.0.1:9",
    ),
)
async def test_a_host_that_names_this_listener_is_answered_whatever_its_port(case: Case, host: bytes):
    assert (await case.ask(case.raw(b"GET %s/x HTTP/1.1" % case.prefix, b"Host: " + host))).status == 200
    assert case.upstream.requests[0].values(b"host") == [b"127.0.0.1:%d" % case.upstream.port]


@pytest.mark.case("D-140")
async def test_an_absolute_target_of_this_listener_is_relayed_in_origin_form(case: Case):
    raw = case.raw(b"GET http://localhost%s/x?y HTTP/1.1" % case.prefix, b"Host: localhost")
    assert (await case.ask(raw)).status == 200
    [request] = case.upstream.requests
    assert request.line == b"GET /x?y HTTP/1.1"
    assert request.values(b"host") == [b"127.0.0.1:%d" % case.upstream.port]


@pytest.mark.case("D-141")
@pytest.mark.parametrize(
    ("authority", "host"),
    [
        pytest.param(b"evil.example", b"localhost", id="foreign-target"),
        pytest.param(b"evil.example", b"evil.example", id="both-foreign"),
        pytest.param(b"localhost", b"evil.example", id="foreign-host"),
    ],
)
async def test_an_absolute_target_of_another_authority_is_misdirected(case: Case, authority: bytes, host: bytes):
    refused = await case.ask(case.raw(b"GET http://%s%s/x HTTP/1.1" % (authority, case.prefix), b"Host: " + host))
    assert (refused.status, refused.code) == (421, "misdirected_request")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-142")
@pytest.mark.parametrize(
    "origin",
    named(
        ftp=b"ftp://localhost",
        file=b"file://localhost",
        websocket=b"ws://localhost",
        user=b"http://user@localhost",
        user_and_password=b"http://a:b@localhost",
        no_host=b"http://",
        port_nought=b"http://localhost:0",
        port_too_large=b"http://localhost:99999",
        junk_port=b"http://localhost:8o",
        one_slash=b"http:/localhost",
        no_slash=b"localhost",
        opaque=b"urn:localhost",
    ),
)
async def test_an_absolute_target_that_is_no_plain_http_url_is_refused(case: Case, origin: bytes):
    refused = await case.ask(case.raw(b"GET %s%s/x HTTP/1.1" % (origin, case.prefix), b"Host: localhost"))
    assert (refused.status, refused.code) == (400, "bad_request")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-143")
@pytest.mark.parametrize(
    ("method", "status", "code"),
    [pytest.param(b"OPTIONS", 404, "no_route", id="options"), pytest.param(b"GET", 400, "bad_request", id="get")],
)
async def test_the_asterisk_belongs_to_no_connection(case: Case, method: bytes, status: int, code: str):
    refused = await case.ask(case.raw(method + b" * HTTP/1.1", case.host))
    assert (refused.status, refused.code) == (status, code)
    assert case.upstream_requests == 0
