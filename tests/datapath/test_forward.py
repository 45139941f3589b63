"""The forward listener: requests that name a whole URL, as applications with HTTP_PROXY send them (RFC 9112 §3.2.2)."""

from __future__ import annotations

import base64
import re
import ssl

import pytest
import trustme

from tests.support.client import Client, Response
from tests.support.scripts import OK_BODY, replies, response, tunnels
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = trustme.CA()
SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0"},
        "admin": {"bind": "127.0.0.1:0"},
    }
}


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    return context


async def application(case: Case) -> Client:
    """Return a stream of an application to its proxy."""
    return await case.connect(case.stage.process.listening["forward"][0])


def authority(case: Case, host: bytes = b"127.0.0.1") -> bytes:
    return b"%s:%d" % (host, case.upstream.port)


def request(
    case: Case,
    *fields: bytes,
    target: bytes = b"/x",
    method: bytes = b"GET",
    body: bytes = b"",
    host: bytes = b"127.0.0.1",
    version: bytes = b"1.1",
) -> bytes:
    line = b"%s http://%s%s HTTP/%s" % (method, authority(case, host), target, version)
    return case.raw(line, b"Host: " + authority(case, host), *fields, body=body)


def as_user(name: str) -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(name.encode() + b":")


async def ask(case: Case, raw: bytes) -> Response:
    return await (await application(case)).ask(raw)


async def refused(case: Case, raw: bytes) -> tuple[int, str]:
    """Send what must not pass: an own answer, and no request to upstream or authorization server."""
    answered = await ask(case, raw)
    assert (case.upstream_requests, case.token_requests) == (0, 0)
    return answered.status, answered.code


def credentials(case: Case) -> list[bytes]:
    return case.upstream.requests[-1].values(b"authorization")


def own(case: Case, generation: int = 1) -> list[bytes]:
    return [f"Bearer {case.token(generation)}".encode()]


# Claimed


@pytest.mark.parametrize(
    "target",
    named(
        order=b"/a?b=2&a=1&a=%20",
        slashes=b"/a//b/",
        escapes=b"/%7e/%2F/%c3%A9",
        url_in_path=b"/http://other.example/x",
        url_in_query=b"/?u=http://other.example/x",
    ),
)
async def test_a_claimed_url_gets_its_token_and_keeps_its_target(case: Case, target: bytes):
    answered = await ask(case, request(case, b"X-A: 1", target=target))
    assert (answered.status, answered.body) == (200, OK_BODY)
    [seen] = case.upstream.requests
    assert seen.target == target
    assert seen.values(b"host") == [authority(case)]
    assert credentials(case) == own(case)


@pytest.mark.parametrize(("written", "sent"), [(b"", b"/"), (b"?a=/b", b"/?a=/b")])
async def test_a_url_without_a_path_has_a_slash(case: Case, written: bytes, sent: bytes):
    assert (await ask(case, request(case, target=written))).status == 200
    assert case.upstream.requests[0].target == sent
    assert credentials(case) == own(case)


@pytest.mark.case("D-143")
async def test_options_of_a_url_without_a_path_are_for_the_whole_server(case: Case):
    assert (await ask(case, request(case, method=b"OPTIONS", target=b""))).status == 200
    assert case.upstream.requests[0].line == b"OPTIONS * HTTP/1.1"


async def test_many_requests_share_a_stream_to_the_upstream(case: Case):
    client = await application(case)
    for number in range(5):
        assert (await client.ask(request(case, target=b"/%d" % number))).status == 200
    assert len(case.upstream.streams) == 1


@pytest.mark.parametrize("case", [pytest.param(server_tls(), id="tls")], indirect=True)
@pytest.mark.connection(base_url="https://localhost:PORT", tls={"ca": AUTHORITY.cert_pem.bytes().decode()})
async def test_http_becomes_https_so_that_no_authority_has_to_be_trusted(case: Case):
    for url in (b"http://localhost:%d/x" % case.upstream.port, b"https://localhost:%d/x" % case.upstream.port):
        answered = await ask(case, case.raw(b"GET %s HTTP/1.1" % url, b"Host: localhost"))
        assert (answered.status, answered.body) == (200, OK_BODY)
        assert credentials(case) == own(case)
        assert case.upstream.requests[-1].target == b"/x"


@pytest.mark.connection(base_url="http://localhost:PORT")
@pytest.mark.parametrize("host", [b"localhost", b"LocalHost", b"localhost."])
async def test_a_claimed_host_is_known_however_it_is_written(case: Case, host: bytes):
    assert (await ask(case, request(case, host=host))).status == 200
    assert credentials(case) == own(case)
    assert case.upstream.requests[0].values(b"host") == [authority(case, b"localhost")]


@pytest.mark.case("D-141")
@pytest.mark.parametrize("host", named(other=b"evil.example", port=b"127.0.0.1:1", name=b"localhost"))
async def test_the_authority_of_the_target_wins_over_the_host_field(case: Case, host: bytes):
    raw = case.raw(b"GET http://%s/x HTTP/1.1" % authority(case), b"hOST: " + host)
    assert (await ask(case, raw)).status == 200
    assert case.upstream.requests[0].values(b"host") == [authority(case)]
    assert credentials(case) == own(case)


@pytest.mark.case("D-141")
async def test_a_request_of_http_1_0_needs_no_host_field(case: Case):
    answered = await ask(case, case.raw(b"GET http://%s/x HTTP/1.0" % authority(case)))
    assert answered.status == 200
    assert case.upstream.requests[0].values(b"host") == [authority(case)]


@pytest.mark.connection(base_url="http://127.0.0.1:PORT/v1")
async def test_a_url_outside_the_path_of_base_url_is_not_claimed(case: Case):
    for target in (b"/v1", b"/v1/x", b"/v1?x"):
        assert (await ask(case, request(case, target=target))).status == 200
        assert (case.upstream.requests[-1].target, credentials(case)) == (target, own(case))
    for target in (b"/v10", b"/V1/x", b"/", b"/v2/x"):
        assert (await ask(case, request(case, target=target))).status == 200
        assert (case.upstream.requests[-1].target, credentials(case)) == (target, [])


@pytest.mark.connection(base_url="http://127.0.0.1:PORT/v1")
@pytest.mark.parametrize("target", [b"/v1/../admin", b"/v1/%2e%2E/admin", b"/v1/..%2fadmin"])
async def test_dot_segments_do_not_leave_the_path_of_base_url(case: Case, target: bytes):
    assert await refused(case, request(case, target=target)) == (400, "bad_request")


@pytest.mark.connection(hosts=["localhost"])
@pytest.mark.parametrize("which", [1, 2])
async def test_the_proxy_user_name_tells_connections_on_one_host_apart(case: Case, which: int):
    raw = case.raw(b"GET http://localhost/x HTTP/1.1", b"Host: localhost", as_user(case.name))
    client = await application(case)
    for number in (1, 2):
        assert (await client.ask(raw)).status == 200
        assert case.upstream_requests == number
        assert credentials(case) == own(case)
        assert case.upstream.requests[-1].values(b"proxy-authorization") == []
    assert case.upstream.requests[-1].values(b"host") == [authority(case, b"localhost")]


@pytest.mark.connection(hosts=["localhost"])
@pytest.mark.parametrize("fields", [[], [as_user("nobody")], [b"Proxy-Authorization: Basic ???"]])
async def test_where_only_a_user_name_could_tell_it_is_asked_for(case: Case, fields: list[bytes]):
    client = await application(case)
    answered = await client.ask(case.raw(b"GET http://localhost/x HTTP/1.1", b"Host: localhost", *fields))
    assert (answered.status, answered.code) == (407, "proxy_auth_required")
    assert answered.values(b"proxy-authenticate") == [b'Basic realm="iclient-proxy"']
    again = case.raw(b"GET http://localhost/x HTTP/1.1", b"Host: localhost", as_user(case.name))
    assert (await client.ask(again)).status == 200


@pytest.mark.case("D-145")
async def test_a_location_is_relayed_as_it_came(case: Case):
    location = b"https://127.0.0.1:%d/next" % case.upstream.port
    case.upstream.answers(replies(response(b"", b"Location: " + location, status=b"302 Found")))
    answered = await ask(case, request(case))
    assert (answered.status, answered.values(b"location")) == (302, [location])
    assert case.upstream_requests == 1


async def test_a_refused_token_is_renewed_and_the_request_sent_again(case: Case):
    case.upstream.refused_tokens.add(case.token())
    body = b"a=1" * 100
    answered = await ask(case, request(case, b"Content-Length: %d" % len(body), method=b"POST", body=body))
    assert (answered.status, case.upstream_requests, case.token_requests) == (200, 2, 2)
    assert [each.body for each in case.upstream.requests] == [body, body]
    assert credentials(case) == own(case, 2)


@pytest.mark.connection(
    base_url="http://localhost:PORT/{{{connection.token.fields.tenant}}}",
    headers={"X-Base": "{{{connection.base_url}}}", "X-Tenant": "{{{connection.token.fields.tenant}}}"},
)
async def test_headers_that_come_with_the_token_are_set_and_the_target_stays(case: Case):
    case.stage.tokens.members[case.name] = {"tenant": "acme"}
    client = await application(case)
    for number in (1, 2):
        assert (await client.ask(request(case, target=b"/x", host=b"localhost"))).status == 200
        seen = case.upstream.requests[number - 1]
        assert (seen.target, seen.values(b"x-tenant")) == (b"/x", [b"acme"])
        assert seen.values(b"x-base") == [b"http://localhost:%d/acme" % case.upstream.port]
    assert len(case.upstream.streams) == 1


@pytest.mark.connection(allowed_methods=["GET"], allowed_paths=["/v1"])
async def test_what_a_connection_does_not_allow_is_refused_here_too(case: Case):
    for raw in (request(case, method=b"DELETE", target=b"/v1"), request(case, target=b"/v2")):
        assert await refused(case, raw) == (403, "not_allowed")
    assert await refused(case, request(case, target=b"/v1/../v2")) == (400, "bad_request")
    assert (await ask(case, request(case, target=b"/v1/x"))).status == 200
    case.good = case.request(target=b"/v1/afterwards")


@pytest.mark.case("D-146")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost"])
async def test_fields_that_point_elsewhere_pass_and_nobody_follows_them(case: Case, host: bytes):
    fields = [b'Alt-Svc: h2="other.example:443"', b"Refresh: 0; url=http://other.example/", b"Link: </a>; rel=preload"]
    case.upstream.answers(replies(response(OK_BODY, *fields)))
    answered = await ask(case, request(case, host=host))
    for field in fields:
        name, _, value = field.partition(b": ")
        assert answered.values(name) == [value]
    assert case.upstream_requests == 1


@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost"])
async def test_an_upgrade_becomes_a_tunnel(case: Case, host: bytes):
    case.upstream.answers(tunnels())
    client = await application(case)
    await client.send(request(case, b"Connection: Upgrade", b"Upgrade: websocket", host=host))
    assert (await client.response(upgrade=True)).status == 101
    await client.send(b"ping")
    assert await client.read_exactly(4) == b"ping"
    assert credentials(case) == (own(case) if host == b"127.0.0.1" else [])


# Fields


@pytest.mark.case("D-152")
async def test_what_is_for_the_proxy_goes_no_further(case: Case):
    fields = [
        b"Proxy-Authorization: Basic Y3JtOg==",
        b"Proxy-Connection: Keep-Alive",
        b"proxy-x: 1",
        b"Keep-Alive: timeout=5",
        b"TE: gzip",
        b"Connection: keep-alive, X-Hop",
        b"X-Hop: 1",
        b"X-End: 1",
    ]
    for host in (b"127.0.0.1", b"localhost"):
        assert (await ask(case, request(case, *fields, host=host))).status == 200
        names = {name.lower() for name, _ in case.upstream.requests[-1].fields}
        assert b"x-end" in names
        assert not {name for name in names if name.startswith(b"proxy") or name in (b"keep-alive", b"te", b"x-hop")}


@pytest.mark.case("D-148", "D-149")
async def test_the_applications_own_credential_is_replaced_where_the_url_is_claimed(case: Case):
    assert (await ask(case, request(case, b"Authorization: Bearer theirs", b"authorization: x"))).status == 200
    assert credentials(case) == own(case)


@pytest.mark.case("D-157")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost"])
async def test_our_via_is_added_here_and_on_no_other_listener(case: Case, host: bytes):
    assert (await ask(case, request(case, b"Via: 1.0 fred", host=host))).status == 200
    theirs, ours = case.upstream.requests[-1].values(b"via")
    assert theirs == b"1.0 fred"
    assert re.fullmatch(rb"1\.1 iclient-proxy-[0-9a-f]{8}", ours)
    assert (await case.ask(case.request())).status == 200
    assert case.upstream.requests[-1].values(b"via") == []


@pytest.mark.case("D-158")
async def test_a_request_that_comes_back_is_a_loop(case: Case):
    assert (await ask(case, request(case))).status == 200
    [via] = case.upstream.requests[0].values(b"via")
    for host in (b"127.0.0.1", b"localhost"):
        answered = await ask(case, request(case, b"Via: 1.1 a, " + via, host=host))
        assert (answered.status, answered.code) == (502, "proxy_loop_detected")
    assert case.upstream_requests == 1


# Unclaimed: `localhost` is nobody's on these ports


async def test_an_unclaimed_url_is_relayed_as_it_came_and_without_a_token(case: Case):
    client = await application(case)
    for number in (1, 2, 3):
        raw = request(case, b"Authorization: Bearer theirs", target=b"/a?b", host=b"LOCALHOST")
        answered = await client.ask(raw)
        assert (answered.status, answered.body, case.upstream_requests) == (200, OK_BODY, number)
    seen = case.upstream.requests[-1]
    assert (seen.target, seen.values(b"host")) == (b"/a?b", [authority(case, b"localhost")])
    assert seen.values(b"authorization") == [b"Bearer theirs"]
    assert len(case.upstream.streams) == 1
    assert case.token_requests == 0


async def test_an_unclaimed_body_passes_both_ways(case: Case):
    chunked = b"4\r\nWiki\r\n0\r\n\r\n"
    case.upstream.answers(replies(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked))
    raw = request(case, b"Transfer-Encoding: chunked", method=b"POST", host=b"localhost", body=chunked)
    answered = await ask(case, raw)
    assert (answered.status, answered.body) == (200, b"Wiki")
    assert case.upstream.requests[0].body == b"Wiki"


async def test_the_401_of_an_unclaimed_url_is_relayed(case: Case):
    case.upstream.answers(replies(response(b"no", b'WWW-Authenticate: Basic realm="x"', status=b"401 Unauthorized")))
    answered = await ask(case, request(case, host=b"localhost"))
    assert (answered.status, answered.values(b"www-authenticate")) == (401, [b'Basic realm="x"'])
    assert (case.upstream_requests, case.token_requests) == (1, 0)


async def test_an_unclaimed_request_is_recorded_under_no_connection_with_its_whole_url(case: Case):
    assert (await ask(case, request(case, target=b"/recorded?secret=1", host=b"localhost"))).status == 200
    path = f"http://localhost:{case.upstream.port}/recorded"
    line = await case.stage.process.until_logged("exchange", path=path)
    assert (line["connection"], line["status"], line["attempts"]) == ("-", 200, 1)


async def test_an_unclaimed_host_that_is_not_there_is_an_own_answer(case: Case):
    answered = await ask(case, case.raw(b"GET http://localhost:1/ HTTP/1.1", b"Host: localhost:1"))
    assert (answered.status, answered.code) == (502, "upstream_refused")
    assert answered.problem()["connection"] == "-"


@pytest.mark.parametrize(
    "url",
    [b"http://169.254.169.254/latest/meta-data/", b"http://metadata.google.internal/", b"http://[fd00:ec2::254]/"],
)
async def test_no_request_goes_to_a_metadata_service(case: Case, url: bytes):
    assert await refused(case, case.raw(b"GET %s HTTP/1.1" % url, b"Host: x")) == (403, "destination_prohibited")


@pytest.mark.case("F-245", "F-248")
@pytest.mark.parametrize(
    "host", [b"0.0.0.0", b"[::]", b"224.0.0.1", b"255.255.255.255", b"[ff02::1]", b"[::ffff:169.254.1.1]"]
)
async def test_no_request_goes_where_no_host_can_be(case: Case, host: bytes):
    raw = case.raw(b"GET http://%s:80/ HTTP/1.1" % host, b"Host: x")
    assert await refused(case, raw) == (403, "destination_prohibited")


@pytest.mark.case("F-257", "A-354")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost", b"127.9.9.9", b"0.0.0.0", b"[::ffff:127.0.0.1]"])
async def test_nobody_reaches_our_own_listeners_by_way_of_us(case: Case, host: bytes):
    process = case.stage.process
    for _, port in (process.admin, process.reverse, process.listening["forward"][0]):
        for line in (b"GET http://%s:%d/" % (host, port), b"POST http://%s:%d/quitquitquit" % (host, port)):
            answered = await ask(case, case.raw(line + b" HTTP/1.1", b"Host: localhost", b"Content-Length: 0"))
            codes = {"destination_prohibited"} if host == b"0.0.0.0" else {"proxy_loop_detected"}
            assert answered.code in codes
    assert process.logged("draining") == []


async def test_an_https_url_that_nobody_claims_has_to_come_by_connect(case: Case):
    raw = case.raw(b"GET https://localhost:%d/x HTTP/1.1" % case.upstream.port, b"Host: localhost")
    assert await refused(case, raw) == (400, "bad_request")


# What is no proxy request


@pytest.mark.case("D-142")
@pytest.mark.parametrize(
    "target",
    named(
        ftp=b"ftp://127.0.0.1/x",
        file=b"file:///etc/passwd",
        websocket=b"ws://127.0.0.1/x",
        user=b"http://user:pw@127.0.0.1/x",
        no_host=b"http:///x",
        no_host_but_port=b"http://:80/x",
        port_zero=b"http://127.0.0.1:0/x",
        port_beyond=b"http://127.0.0.1:99999/x",
        no_port=b"http://127.0.0.1:/x",
        number=b"http://2130706433/x",
        short=b"http://127.1/x",
        hexadecimal=b"http://0x7f.0.0.1/x",
        list=b"http://a,b/x",
        backslash=b"http://127.0.0.1\\@evil.example/x",
        no_scheme=b"127.0.0.1/x",
        one_slash=b"http:/127.0.0.1/x",
        brackets=b"http://[::1/x",
    ),
)
async def test_a_url_that_two_could_read_differently_is_refused(case: Case, target: bytes):
    status, code = await refused(case, case.raw(b"GET %s HTTP/1.1" % target, b"Host: 127.0.0.1"))
    assert (status, code) == (400, "bad_request")


@pytest.mark.case("D-142")
@pytest.mark.parametrize(
    "line", [b"GET http://%s@127.0.0.1/x", b"GET ftp://%s@a/x", b"CONNECT %s@a:443", b"TRACE http://%s@a/x"]
)
@pytest.mark.parametrize("listener", ["forward", "reverse"])
async def test_a_password_in_a_url_is_not_in_the_log(case: Case, line: bytes, listener: str):
    process = case.stage.process
    client = await case.connect(process.listening[listener][0])
    answered = await client.ask(case.raw(line % b"joe:canary-password" + b" HTTP/1.1", b"Host: 127.0.0.1"))
    assert answered.status in (400, 405, 421)
    logged = await process.until_logged("exchange", request_id=answered.problem()["request_id"])
    assert "***@" in logged["path"]
    assert "joe" not in process.output


@pytest.mark.case("F-258", "A-348", "A-350")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"Host: localhost"], id="own"),
        pytest.param([b"Host: attacker.example:9000"], id="rebinding"),
        pytest.param([b"Host: localhost", b"Origin: https://evil.example"], id="origin"),
        pytest.param([b"Host: localhost", b"Origin: null"], id="null"),
        pytest.param([b"Host: localhost", b"Sec-Fetch-Site: cross-site"], id="cross-site"),
    ],
)
@pytest.mark.parametrize("line", [b"GET /x", b"POST /api/reload", b"OPTIONS *", b"GET *", b"POST /healthz"])
async def test_a_request_in_origin_form_is_refused_whoever_makes_it(case: Case, line: bytes, fields: list[bytes]):
    answered = await ask(case, case.raw(line + b" HTTP/1.1", *fields))
    assert (answered.status, answered.code) == (400, "absolute_form_required")
    assert [name for name, _ in answered.fields if name.lower().startswith(b"access-control")] == []
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("F-258")
async def test_healthz_says_that_the_listener_is_there(case: Case):
    answered = await ask(case, case.raw(b"GET /healthz HTTP/1.1", b"Host: x"))
    assert (answered.status, answered.body) == (200, b"ok\n")
    answered = await ask(case, case.raw(b"HEAD /healthz HTTP/1.1", b"Host: x"))
    assert (answered.status, answered.body, answered.values(b"content-length")) == (200, b"", [b"3"])


async def test_a_browser_may_have_it_as_its_proxy(case: Case):
    fields = [b"Origin: https://app.example", b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: cors"]
    assert (await ask(case, request(case, *fields))).status == 200
    assert case.upstream.requests[0].values(b"origin") == [b"https://app.example"]


async def test_the_magic_host_shows_a_page(case: Case):
    answered = await ask(
        case, case.raw(b"GET http://iclient-proxy.internal/ HTTP/1.1", b"Host: iclient-proxy.internal")
    )
    assert answered.status == 200
    assert b"You reached the proxy" in answered.body


@pytest.mark.case("D-147")
async def test_trace_is_not_relayed(case: Case):
    for host in (b"127.0.0.1", b"localhost"):
        assert await refused(case, request(case, method=b"TRACE", host=host)) == (405, "method_not_allowed")
    assert (await ask(case, request(case))).status == 200
    answered = await ask(case, request(case, method=b"TRACE"))
    assert (answered.status, case.upstream_requests) == (405, 1)


@pytest.mark.case("D-147")
async def test_max_forwards_of_options_is_counted_down(case: Case):
    assert (await ask(case, request(case, b"Max-Forwards: 0", method=b"OPTIONS"))).status == 200
    assert case.upstream_requests == 0
    assert (await ask(case, request(case, b"Max-Forwards: 2", method=b"OPTIONS"))).status == 200
    assert case.upstream.requests[0].values(b"max-forwards") == [b"1"]


# CONNECT


@pytest.mark.case("F-252")
@pytest.mark.parametrize(
    "target",
    named(
        port_zero=b"127.0.0.1:0",
        port_beyond=b"127.0.0.1:99999",
        no_port=b"127.0.0.1",
        empty_port=b"127.0.0.1:",
        path=b"127.0.0.1:443/x",
        user=b"user@127.0.0.1:443",
        url=b"http://127.0.0.1:443",
        slash=b"/",
        star=b"*",
        number=b"2130706433:443",
        no_host=b":443",
    ),
)
async def test_a_connect_to_no_host_and_port_is_refused(case: Case, target: bytes):
    client = await application(case)
    answered = await client.ask(case.raw(b"CONNECT %s HTTP/1.1" % target, b"Host: x") + case.request())
    assert (answered.status, answered.code) == (400, "bad_request")
    assert await client.is_closed()  # what followed is never read as a request
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("F-259")
async def test_a_blind_tunnel_to_a_claimed_host_gets_no_token_and_is_warned_about_once(case: Case):
    for _ in range(3):
        client = await application(case)
        await client.send(case.raw(b"CONNECT %s HTTP/1.1" % authority(case), b"Host: x"))
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        answered = await client.ask(case.raw(b"GET /t HTTP/1.1", b"Host: a"))
        assert (answered.status, credentials(case)) == (200, [])
        await client.close()
    process = case.stage.process
    await process.until_logged("exchange", 3, method="CONNECT", path=authority(case).decode())
    assert len(process.logged("blind_tunnel", host="127.0.0.1")) == 1
