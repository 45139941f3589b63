"""Where the credential goes: into its own place, once, whatever the application put there (RFC 6750 §2)."""

from __future__ import annotations

import json

import pytest

from tests.support.scripts import OK_BODY, replies, response, unauthorized
from tests.support.stage import SECRET, Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUERY = {"query": {"name": "tok"}}


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


def credential(case: Case, generation: int = 1) -> bytes:
    return f"Bearer {case.token(generation)}".encode()


@pytest.mark.case("D-148", "D-149")
@pytest.mark.parametrize(
    "fields",
    [
        [b"Authorization: Bearer canary-mine"],
        [b"authorization: Basic Y2FuYXJ5LQ=="],
        [b"AUTHORIZATION: x"],
        [b"Authorization: a", b"authorization: b", b"AUTHORIZATION: c", b"Authorization: d"],
        [b"Authorization_: canary-mine"],
        [b"authorization_: a", b"Authorization: b"],
        [b"Authorization:"],
    ],
    ids=lambda fields: "+".join(field.split(b":")[0].decode() for field in fields),
)
async def test_what_the_application_sent_in_the_place_of_the_token_is_replaced(case: Case, fields: list[bytes]):
    assert (await case.ask(case.request(b"X-A: 1", *fields, b"X-B: 2"))).status == 200
    [request] = case.upstream.requests
    assert [pair for pair in request.fields if pair[0].lower().startswith(b"auth")] == [
        (b"Authorization", credential(case))
    ]
    assert [pair for pair in request.fields if pair[0].startswith(b"X-")] == [(b"X-A", b"1"), (b"X-B", b"2")]


@pytest.mark.case("D-148")
@pytest.mark.connection(on_client_credential="reject")
@pytest.mark.parametrize("name", [b"Authorization", b"authorization"])
async def test_a_credential_of_the_application_is_refused_where_the_definitions_say_so(case: Case, name: bytes):
    refused = await case.ask(case.request(name + b": Bearer canary-mine"))
    assert (refused.status, refused.code) == (400, "client_credential_present")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-148")
@pytest.mark.connection(on_client_credential="passthrough")
async def test_a_credential_of_the_application_passes_where_the_definitions_say_so(case: Case):
    case.upstream.answers(replies(unauthorized()))
    relayed = await case.ask(case.request(b"Authorization: Bearer own"))
    assert (relayed.status, relayed.values(b"www-authenticate")) == (401, [b'Bearer error="invalid_token"'])
    assert (case.upstream_requests, case.token_requests) == (1, 0)
    assert case.upstream.requests[0].values(b"authorization") == [b"Bearer own"]


@pytest.mark.case("D-148")
@pytest.mark.connection(on_client_credential="passthrough")
async def test_passthrough_still_injects_where_the_application_sent_nothing(case: Case):
    assert (await case.ask(case.request())).status == 200
    assert case.upstream.requests[0].values(b"authorization") == [credential(case)]


@pytest.mark.case("D-150")
@pytest.mark.parametrize("option", [b"authorization", b"close, Authorization", b"AUTHORIZATION"])
async def test_nominating_the_credential_as_hop_by_hop_does_not_strip_ours(case: Case, option: bytes):
    assert (await case.ask(case.request(b"Connection: " + option, b"Authorization: mine"))).status == 200
    [request] = case.upstream.requests
    assert request.values(b"authorization") == [credential(case)]
    assert request.values(b"connection") == []


@pytest.mark.case("D-150", "D-155")
@pytest.mark.connection(send_token_via={"header": {"name": "X-Api-Key", "scheme": ""}})
async def test_a_header_of_the_operators_choice_holds_the_bare_token(case: Case):
    raw = case.request(
        b"Connection: close, X-Api-Key", b"x-api-key: mine", b"X-API-KEY: again", b"Authorization: Bearer own"
    )
    assert (await case.ask(raw)).status == 200
    [request] = case.upstream.requests
    assert b"\r\nX-Api-Key: %s\r\n" % case.token().encode() in request.head
    assert len(request.values(b"x-api-key")) == 1
    assert request.values(b"authorization") == [b"Bearer own"]


@pytest.mark.case("D-155")
@pytest.mark.connection(send_token_via={"header": {"name": "Authorization", "scheme": "Token"}})
async def test_another_scheme_stands_before_the_token(case: Case):
    assert (await case.ask(case.request())).status == 200
    assert b"\r\nAuthorization: Token %s\r\n" % case.token().encode() in case.upstream.requests[0].head


@pytest.mark.case("D-155")
@pytest.mark.connection(send_token_via={"header": {"name": "Authorization", "scheme": ""}})
async def test_without_a_scheme_the_token_stands_alone(case: Case):
    assert (await case.ask(case.request(b"authorization_: x"))).status == 200
    assert b"\r\nAuthorization: %s\r\n" % case.token().encode() in case.upstream.requests[0].head
    assert len([pair for pair in case.upstream.requests[0].fields if b"auth" in pair[0].lower()]) == 1


QUERIES = [
    pytest.param(b"/q", b"/q?{}", id="no-query"),
    pytest.param(b"/q?", b"/q?{}", id="empty-query"),
    pytest.param(b"/q?a=1", b"/q?a=1&{}", id="beside"),
    pytest.param(b"/q?tok=mine", b"/q?{}", id="once"),
    pytest.param(b"/q?tok=mine&a=1", b"/q?a=1&{}", id="first"),
    pytest.param(b"/q?a=1&tok=mine&b=2", b"/q?a=1&b=2&{}", id="between"),
    pytest.param(b"/q?tok=mine&a=1&tok=mine&tok=mine", b"/q?a=1&{}", id="three-times"),
    pytest.param(b"/q?tok%65n=1&%74ok=mine&t%6Fk=mine", b"/q?tok%65n=1&{}", id="percent-encoded"),
    pytest.param(b"/q?tok", b"/q?{}", id="no-value"),
    pytest.param(b"/q?Tok=1&TOK=2&tok_=3&xtok=4", b"/q?Tok=1&TOK=2&tok_=3&xtok=4&{}", id="other-names"),
    pytest.param(b"/q?a=%2F+b%20c&d&=e&&f=g=h", b"/q?a=%2F+b%20c&d&=e&&f=g=h&{}", id="other-bytes"),
    pytest.param(b"/q?a=tok=mine", b"/q?a=tok=mine&{}", id="in-a-value"),
    pytest.param(b"/q?a=b?tok=c", b"/q?a=b?tok=c&{}", id="second-question-mark"),
]


@pytest.mark.case("D-153")
@pytest.mark.connection(send_token_via=QUERY)
@pytest.mark.parametrize(("sent", "wanted"), QUERIES)
async def test_a_token_in_the_query_replaces_that_parameter_and_nothing_else(case: Case, sent: bytes, wanted: bytes):
    assert (await case.ask(case.request(b"Authorization: Bearer own", target=sent))).status == 200
    [request] = case.upstream.requests
    assert request.target == wanted.replace(b"{}", b"tok=" + case.token().encode())
    assert request.values(b"authorization") == [b"Bearer own"]


@pytest.mark.case("D-153")
@pytest.mark.connection(send_token_via=QUERY)
@pytest.mark.parametrize("query", [b"a=1;tok=mine&b=2", b"tok=mine;a=1&b=2", b"b=2&a=1;tok=mine;c=3"])
async def test_a_token_after_a_semicolon_does_not_survive_beside_ours(case: Case, query: bytes):
    assert (await case.ask(case.request(target=b"/q?" + query))).status == 200
    target = case.upstream.requests[0].target
    assert target.count(b"tok=") == 1
    assert target.endswith(b"tok=" + case.token().encode())
    assert b"b=2" in target


@pytest.mark.case("D-148", "D-153")
@pytest.mark.connection(send_token_via=QUERY, on_client_credential="reject")
@pytest.mark.parametrize("query", [b"tok=mine", b"%74ok=mine"])
async def test_a_token_of_the_application_in_the_query_is_refused_where_the_definitions_say_so(
    case: Case, query: bytes
):
    refused = await case.ask(case.request(target=b"/q?" + query))
    assert (refused.status, refused.code) == (400, "client_credential_present")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-154")
@pytest.mark.connection(send_token_via=QUERY)
async def test_the_line_of_an_exchange_shows_neither_query_nor_token(case: Case):
    case.upstream.answers(replies(response(OK_BODY, b"Cache-Control: private")))
    answered = await case.ask(case.request(target=b"/q?name=value"))
    assert answered.values(b"cache-control") == [b"private"]
    line = await case.stage.process.until_logged("exchange", connection=case.name)
    assert (line["method"], line["status"], line["attempts"]) == ("GET", 200, 1)
    assert line["path"].endswith("/q")
    assert "?" not in json.dumps(line)
    assert "canary" not in json.dumps(line)


async def test_the_line_of_a_request_that_nobody_claims_shows_no_secret_either(case: Case):
    client = await case.connect()
    refused = await client.ask(case.raw(b"GET /nowhere/%s HTTP/1.1" % SECRET.encode(), b"Host: localhost"))
    assert (refused.status, refused.code) == (404, "no_route")
    line = await case.stage.process.until_logged("exchange", connection="-", status=404)
    assert line["path"].startswith("/nowhere/")
    assert SECRET not in json.dumps(line)


@pytest.mark.case("D-183")
async def test_two_requests_on_one_stream_each_get_the_token_of_their_own_connection(case: Case, neighbour: Case):
    client = await case.connect()
    order = [case, neighbour, neighbour, case]
    before = neighbour.upstream_requests
    for one in order:
        assert (await client.ask(one.request())).status == 200
    assert [request.token for request in case.upstream.requests] == [case.token()] * 2
    assert [request.token for request in neighbour.upstream.requests[before:]] == [neighbour.token()] * 2
    assert neighbour.token() != case.token()


@pytest.mark.case("D-183", "D-165")
async def test_two_pipelined_requests_each_get_the_token_of_their_own_connection(case: Case, neighbour: Case):
    client = await case.connect()
    before = neighbour.upstream_requests
    await client.send(case.request() + neighbour.request() + case.request())
    for _ in range(3):
        assert (await client.response()).status == 200
    assert [request.token for request in case.upstream.requests] == [case.token()] * 2
    assert [request.token for request in neighbour.upstream.requests[before:]] == [neighbour.token()]


@pytest.mark.case("D-185")
@pytest.mark.connection(allowed_paths=["/open", "/afterwards"], allowed_methods=["GET", "POST"])
@pytest.mark.parametrize(
    ("method", "target"), [(b"GET", b"/shut"), (b"DELETE", b"/open"), (b"FOO", b"/open"), (b"GET", b"/OPEN")]
)
async def test_what_the_definitions_do_not_allow_gets_no_token(case: Case, method: bytes, target: bytes):
    refused = await case.ask(case.request(method=method, target=target))
    assert (refused.status, refused.code) == (403, "not_allowed")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-185")
@pytest.mark.connection(allowed_paths=["/open", "/afterwards"], allowed_methods=["GET", "POST"])
async def test_what_the_definitions_allow_passes(case: Case):
    raw = case.request(b"Content-Length: 0", method=b"POST", target=b"/open?a")
    assert (await case.ask(raw)).status == 200
    assert case.upstream_requests == 1
