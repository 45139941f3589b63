import re

import pytest

from proxy.access_token import AccessToken
from proxy.definitions.domains import parse_url
from proxy.definitions.models import Connection, HeaderPlacement, QueryPlacement, Route, SendTokenVia
from proxy.definitions.templates.placeholders import Ambient, compile_template
from proxy.errors import Refusal
from proxy.exchange.aim import Aim, lines_named
from proxy.exchange.location import LocationMap
from proxy.exchange.plan import Plan
from proxy.exchange.record import ConnectionCounters
from proxy.exchange.rewrite import binds_stream, ends_stream, request_head, response_head, upstream_target
from proxy.problem import PROBLEMS
from proxy.secret import Secret
from proxy.wire.heads import parse_request, parse_response
from proxy.wire.request import HeadLimits

LIMITS = HeadLimits(size=4000, line=1000, fields=50, target=500)
TOKEN = AccessToken(Secret("token-1"), 1)


class Nowhere:
    """No streams: here nothing is sent."""

    def to(self, origin):
        return None


class Source:
    """Has a token; here nobody asks for it."""

    def take(self):
        return TOKEN

    async def wait(self):
        return TOKEN


def target_at(plan, base_path, target):
    return upstream_target(base_path, target[plan.strip :], guards_dots=plan.guards_dots)


def plan_of(*, tokens=True, **settings):
    settings.setdefault("base_url", "https://api.example.com")
    settings.setdefault("route", Route(prefix="/crm"))
    connection = Connection(name="crm", **settings)
    return Plan(
        connection,
        Nowhere(),
        Source() if tokens else None,
        None,
        ConnectionCounters("crm"),
        lambda: Ambient(0.0, bytes),
    )


def request(*fields, line=b"GET /crm/x HTTP/1.1", host=b"Host: 127.0.0.1:8080"):
    raw = b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])
    return parse_request(raw, LIMITS)


def sent(head, *, plan=None, token=TOKEN, target=b"/x", strip=False):
    plan = plan or plan_of()
    return request_head(plan, plan.aim, head, target, token, strip_authorization=strip)


def response(*fields, line=b"HTTP/1.1 200 OK"):
    return parse_response(b"\r\n".join([line, *fields, b"", b""]), LIMITS)


# The target


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        (b"", b"/crm/x?y", b"/x?y"),
        (b"", b"/crm", b"/"),
        (b"", b"/crm?y", b"/?y"),
        (b"/v2", b"/crm/x", b"/v2/x"),
        (b"/v2", b"/crm/", b"/v2/"),
        (b"/v2", b"/crm", b"/v2"),
        (b"/v2", b"/crm?y", b"/v2?y"),
        (b"/v2", b"/crmx", b"/v2/x"),
        (b"", b"/crm//x", b"//x"),
    ],
)
def test_the_prefix_of_the_route_gives_way_to_the_base_path(base, target, expected):
    plan = plan_of(base_url="https://api.example.com" + base.decode())

    assert plan.aim.base_path == base
    assert target_at(plan, base, target) == expected


def test_a_question_to_the_whole_server_stays_one():
    assert target_at(plan_of(route=None), b"/v2", b"*") == b"*"


def test_where_nothing_is_stripped_the_target_keeps_its_prefix():
    plan = plan_of(route=Route(prefix="/crm", strip=False))

    assert target_at(plan, b"/v2", b"/crm/x") == b"/v2/crm/x"


DOTTED = [
    b"/../x", b"/x/..", b"/x/../y", b"/.", b"/./x", b"/x/.", b"/%2e%2e/x", b"/%2E./x", b"/.%2e", b"/x/%2e",
    b"/x%2f../y", b"/x%2F%2e%2e", b"/x\\..\\y", b"/x%5c../y", b"/x%5C..", b"/x/..;a=b", b"/x/..;/y",
    b"/x/..%2fy", b"/x/..%5cy",
    b"/x/..%3by", b"/x/..%3B", b"/x/..?y", b"/a/b/%2E%2E\\c",
]  # fmt: skip


@pytest.mark.parametrize("rest", DOTTED)
def test_a_path_that_could_leave_the_base_is_refused(rest):
    plan = plan_of(base_url="https://api.example.com/v2")

    with pytest.raises(Refusal) as refused:
        target_at(plan, b"/v2", b"/crm" + rest)
    assert refused.value.problem is PROBLEMS["bad_request"]


@pytest.mark.parametrize("rest", DOTTED)
def test_where_there_is_no_base_to_leave_it_passes(rest):
    assert target_at(plan_of(), b"", b"/crm" + rest) == rest


@pytest.mark.parametrize(
    "rest",
    [
        b"/...", b"/..x", b"/x..", b"/.x", b"/x.", b"/x.y/z", b"/x?a=/../", b"/x?/..", b"/%2e%2e%2e", b"/x%2e",
        b"/%2ex", b"/%2", b"/x%20y", b"/x;..", b"/%252e%252e/x",
    ],
)  # fmt: skip
def test_dots_that_are_no_segments_pass(rest):
    plan = plan_of(base_url="https://api.example.com/v2")

    assert target_at(plan, b"/v2", b"/crm" + rest) == b"/v2" + rest


def test_allowed_paths_are_guarded_like_a_base():
    with pytest.raises(Refusal):
        target_at(plan_of(allowed_paths=("/x/*",)), b"", b"/crm/x/../y")


# The head of a request


def test_the_host_is_the_upstreams_and_the_token_stands_at_the_end():
    head = request(b"Accept: */*", b"x-a:  1 ")

    assert sent(head) == (
        b"GET /x HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\nx-a:  1 \r\nAuthorization: Bearer token-1\r\n\r\n"
    )


def test_the_host_is_replaced_where_it_stood():
    head = parse_request(b"GET /crm/x HTTP/1.1\r\nX-A: 1\r\nhOST: here\r\nX-B: 2\r\n\r\n", LIMITS)

    assert sent(head, token=None) == b"GET /x HTTP/1.1\r\nX-A: 1\r\nHost: api.example.com\r\nX-B: 2\r\n\r\n"


def test_a_port_that_is_not_that_of_the_scheme_stands_in_the_host():
    plan = plan_of(base_url="https://api.example.com:8443")

    assert b"\r\nHost: api.example.com:8443\r\n" in sent(request(), plan=plan)


def test_http_1_0_without_a_host_gets_one_and_the_message_is_http_1_1():
    head = request(b"X-A: 1", line=b"GET /crm/x HTTP/1.0", host=b"")

    assert sent(head) == (
        b"GET /x HTTP/1.1\r\nX-A: 1\r\nHost: api.example.com\r\nAuthorization: Bearer token-1\r\n\r\n"
    )


@pytest.mark.parametrize(
    "theirs", [b"Authorization: Basic eA==", b"AUTHORIZATION: x", b"authorization_: x", b"Authorization__: x"]
)
@pytest.mark.parametrize("other", [b"Accept: */*", b"Via: 1.1 a"])
def test_the_applications_credential_is_replaced_and_never_joined(theirs, other):
    out = sent(request(theirs, other, theirs))

    assert len(re.findall(rb"(?i)\nauthorization", out)) == 1
    assert b"\r\nAuthorization: Bearer token-1\r\n" in out
    assert b"\r\n" + other + b"\r\n" in out


def test_without_a_token_the_applications_credential_stays():
    assert b"\r\nAuthorization: Basic eA==\r\n" in sent(request(b"Authorization: Basic eA=="), token=None)


@pytest.mark.parametrize("other", [b"Accept: */*", b"Via: 1.1 a"])
def test_a_credential_that_was_for_the_listener_goes_no_further(other):
    out = sent(request(b"Authorization: Basic eA==", other, b"Authorization: x"), token=None, strip=True)

    assert b"uthorization" not in out
    assert b"\r\n" + other + b"\r\n" in out


KEY = SendTokenVia(header=HeaderPlacement(name="X-API-Key", scheme=""))


@pytest.mark.parametrize("theirs", [b"X-API-Key: x", b"x_api_key: x", b"X-Api_Key__: x", b"x-api-key:"])
def test_a_token_in_another_header_replaces_every_spelling_of_that_one_alone(theirs):
    head = request(theirs, b"X-API-Key2: kept", b"Authorization: kept", theirs)

    out = sent(head, plan=plan_of(send_token_via=KEY))

    assert out == (
        b"GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-API-Key2: kept\r\nAuthorization: kept\r\n"
        b"X-API-Key: token-1\r\n\r\n"
    )


def test_a_token_in_the_query_leaves_the_headers_alone():
    plan = plan_of(send_token_via=SendTokenVia(query=QueryPlacement(name="key")))
    head = request(b"Authorization: kept")

    out = sent(head, plan=plan, target=b"/x?a&key=theirs")

    assert out == b"GET /x?a&key=token-1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: kept\r\n\r\n"


def test_where_no_token_is_wanted_none_is_sent():
    plan = plan_of(tokens=False)

    assert plan.injector is None
    assert sent(request(b"Authorization: kept"), plan=plan).count(b"uthorization") == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"BREW"])
def test_a_request_without_a_body_says_nothing_of_one(method):
    out = sent(request(line=method + b" /crm/x HTTP/1.1"))

    assert out.startswith(method + b" /x HTTP/1.1\r\n")
    assert b"Content-Length" not in out


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_a_method_that_has_bodies_says_that_there_is_none(method):
    line = method + b" /crm/x HTTP/1.1"

    assert sent(request(line=line)).endswith(b"token-1\r\nContent-Length: 0\r\n\r\n")
    assert sent(request(b"Content-Length: 0", line=line)).count(b"Content-Length: 0\r\n") == 1
    assert sent(request(b"Content-Length: 7", line=line)).count(b"Content-Length: 7\r\n") == 1
    assert b"Content-Length" not in sent(request(b"Transfer-Encoding: chunked", line=line))
    assert b"\r\nTransfer-Encoding: chunked\r\n" in sent(request(b"Transfer-Encoding: chunked", line=line))


HOP = [
    b"Connection: close",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic eA==",
    b"Trailer: X-A",
    b"HTTP2-Settings: AAMA",
    b"Upgrade: h2c",
    b"TE: gzip",
]


@pytest.mark.parametrize("field", HOP)
@pytest.mark.parametrize("other", [b"Accept: */*", b"Via: 1.1 a", b"Content-Length: 3"])
def test_fields_of_one_hop_never_cross(field, other):
    out = sent(request(field, other, field))

    assert out == (
        b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n" + other + b"\r\nAuthorization: Bearer token-1\r\n\r\n"
    )


def test_what_connection_nominates_does_not_cross_but_for_host_and_framing():
    out = sent(
        request(b"X-A: 1", b"Connection: X-A, Host, Content-Length", b"Content-Length: 3", b"x-a: 2", b"X-AB: 3")
    )

    assert out == (
        b"GET /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\nX-AB: 3\r\n"
        b"Authorization: Bearer token-1\r\n\r\n"
    )


def test_trailers_are_asked_for_where_the_client_asks_for_them():
    out = sent(request(b"TE: trailers, gzip"))

    assert out.endswith(b"\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
    assert out.count(b"TE:") == 1


def test_an_upgrade_to_websocket_crosses_as_one():
    out = sent(request(b"Connection: Upgrade, X-A", b"Upgrade: WebSocket", b"X-A: 1", b"TE: trailers"))

    assert out.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert out.count(b"pgrade:") == 1
    assert b"X-A" not in out
    assert b"TE:" not in out


def test_headers_of_the_definition_replace_theirs_in_every_spelling():
    headers = (("X-Tenant", compile_template("acme")), ("X-Debug", None))
    plan = plan_of(headers=headers)

    out = sent(request(b"x_tenant: theirs", b"X-Debug: 1", b"X-Debugger: kept"), plan=plan)

    assert out == (
        b"GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-Debugger: kept\r\n"
        b"Authorization: Bearer token-1\r\nX-Tenant: acme\r\n\r\n"
    )


@pytest.mark.parametrize("field", [b"Via: 1.1 a", b"Max-Forwards: 3", b"Expect: 100-continue"])
def test_fields_that_are_end_to_end_cross(field):
    assert b"\r\n" + field + b"\r\n" in sent(request(field))


@pytest.mark.parametrize(
    ("line", "binds"),
    [
        (b"Authorization: NTLM TlRM", True),
        (b"authorization:negotiate YII=", True),
        (b"AUTHORIZATION: \tNegotiate", True),
        (b"Authorization: ntlm\tx", True),
        (b"Authorization: Bearer ntlm", False),
        (b"Authorization: NTLMv2 x", False),
        (b"Authorization: negotiated", False),
        (b"X-Authorization: NTLM x", False),
        (b"X-A: NTLM", False),
    ],
)
def test_a_request_that_signs_its_stream_in_is_known(line, binds):
    assert binds_stream(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n") is binds


# The head of a response


def answered(head, *, aim=None, added=b"", decoded=False, target=b"/v2/x"):
    return response_head(aim or plan_of().aim, head, target, added=added, decoded=decoded)


def test_a_response_passes_as_it_came_and_lines_of_ours_stand_at_its_end():
    head = response(b"x-a:  1 ", b"X-B: 2")

    assert answered(head) is head.raw
    assert answered(head, added=b"Via: 1.1 us\r\n") == b"HTTP/1.1 200 OK\r\nx-a:  1 \r\nX-B: 2\r\nVia: 1.1 us\r\n\r\n"


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: close", b"Keep-Alive: timeout=5", b"Proxy-Authenticate: Basic", b"Proxy-Connection: close",
        b"TE: x", b"Trailer: X-A", b"Upgrade: h2",
    ],
)  # fmt: skip
def test_fields_of_one_hop_do_not_come_back(field):
    assert answered(response(b"X-A: 1", field, b"X-B: 2")) == b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\n\r\n"


def test_what_a_hostile_upstream_nominates_does_not_take_away_what_the_client_relies_on():
    head = response(b"Connection: Set-Cookie, X-A, Cache-Control", b"Set-Cookie: a", b"X-A: 1", b"Cache-Control: b")

    assert answered(head) == b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nCache-Control: b\r\n\r\n"


def test_chunks_that_are_taken_off_are_not_announced():
    head = response(b"Transfer-Encoding: chunked", b"X-A: 1")

    assert answered(head, decoded=True) == b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"
    assert answered(head) is head.raw


def test_a_response_of_http_1_0_is_one_of_ours():
    assert answered(response(b"X-A: 1", line=b"HTTP/1.0 404 No")) == b"HTTP/1.1 404 No\r\nX-A: 1\r\n\r\n"


def test_locations_under_the_base_become_paths_of_the_route():
    url = parse_url("https://api.example.com/v2")
    location = LocationMap("https", "api.example.com", 443, "/v2", "/crm", strip=True)
    head = response(b"location: \t/v2/y ", b"X-A: /v2/y", b"Content-Location: https://api.example.com/v2/z?q")

    mapped = answered(head, aim=Aim(url, None, b"", [], location))
    left = answered(head, aim=Aim(url, None, b"", [], None))

    assert mapped == b"HTTP/1.1 200 OK\r\nlocation: /crm/y\r\nX-A: /v2/y\r\nContent-Location: /crm/z?q\r\n\r\n"
    assert left is head.raw


def test_a_relative_location_is_one_of_the_request_that_was_sent():
    location = LocationMap("https", "api.example.com", 443, "/v2", "/crm", strip=True)
    aim = Aim(parse_url("https://api.example.com/v2"), None, b"", [], location)

    assert b"\r\nLocation: /crm/a/X\r\n" in answered(response(b"Location: X"), aim=aim, target=b"/v2/a/b")
    assert b"\r\nLocation: /crm/a/c\r\n" in answered(response(b"Location: c"), aim=aim, target=b"/v2/a/b")


@pytest.mark.parametrize(
    ("asked", "came", "decoded", "ends"),
    [
        (b"GET / HTTP/1.1", (b"Content-Length: 1",), False, False),
        (b"GET / HTTP/1.1", (b"Content-Length: 0",), False, False),
        (b"GET / HTTP/1.1", (b"Transfer-Encoding: chunked",), False, False),
        (b"GET / HTTP/1.1", (b"Transfer-Encoding: chunked",), True, True),
        (b"GET / HTTP/1.1", (), False, True),
        (b"HEAD / HTTP/1.1", (), False, False),
        (b"GET / HTTP/1.0", (b"Content-Length: 1",), False, True),
    ],
)
def test_a_stream_ends_where_only_its_end_marks_that_of_the_body(asked, came, decoded, ends):
    assert ends_stream(request(line=asked), response(*came), decoded=decoded) is ends


@pytest.mark.parametrize(("status", "ends"), [(b"204 No", False), (b"304 Not", False), (b"205 Reset", True)])
def test_a_status_without_a_body_keeps_the_stream(status, ends):
    assert ends_stream(request(), response(line=b"HTTP/1.1 " + status), decoded=False) is ends


def test_a_client_that_wants_the_stream_closed_gets_it_closed():
    for line in (b"GET / HTTP/1.1", b"HEAD / HTTP/1.1"):
        head = request(b"Connection: close", line=line)
        assert ends_stream(head, response(b"Content-Length: 1"), decoded=False) is True


# Whole lines


@pytest.mark.parametrize(
    ("names", "line", "found"),
    [
        ([b"x-api-key"], b"X-API-Key: a", True),
        ([b"x-api-key"], b"x_api_key:", True),
        ([b"x-api-key"], b"x-api_key__: a", True),
        ([b"a", b"b"], b"B: 1", True),
        ([b"x-api-key"], b"x-api-key2: a", False),
        ([b"x-api-key"], b"xx-api-key: a", False),
        ([b"x-api-key"], b"x.api.key: a", False),
        ([b"x.a"], b"xba: a", False),
        ([b"a", b"b"], b"AB: 1", False),
    ],
)
def test_lines_are_found_by_the_names_that_servers_take_for_the_same(names, line, found):
    lines = b"\r\nC: 1\r\n" + line + b"\r\nD: 2\r\n"

    left = lines_named(*names).sub(b"", lines)

    assert left == (b"\r\nC: 1\r\nD: 2\r\n" if found else lines)
