"""The doors of the reverse kind: a unix socket, TLS, the listener's own credential, a port or a host for a route."""

from __future__ import annotations

import base64
import os
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.client import Client
from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = trustme.CA()
PASSWORD = "canary-password"
BASIC = b"Basic " + base64.b64encode(b"app:" + PASSWORD.encode())
BEARER = b"canary-bearer"
WRONG = [
    pytest.param([], id="none"),
    pytest.param([b"Authorization: Bearer wrong"], id="wrong"),
    pytest.param([b"Authorization: Bearer " + BEARER + b"x"], id="longer"),
    pytest.param([b"Authorization: Bearer " + BEARER[:-1]], id="shorter"),
    pytest.param([b"Authorization: " + BEARER], id="no-scheme"),
    pytest.param([b"Authorization: Basic " + BEARER], id="other-scheme"),
    pytest.param([b"Authorization: Bearer " + BEARER, b"Authorization: Bearer wrong"], id="twice"),
    pytest.param([b"Proxy-Authorization: Bearer " + BEARER], id="proxy"),
    pytest.param([b"Authorization_: Bearer " + BEARER], id="underscore"),
]


def SETTINGS(folder: Path) -> dict[str, Any]:  # noqa: N802 - a setting like those of the other modules, made late
    own = AUTHORITY.issue_cert("localhost")
    own.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    tls = {"cert": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
    basic = {"basic": {"username": "app", "password": PASSWORD}}
    return {
        "allow_inline_secrets": True,
        "listeners": {
            "admin": {"bind": "127.0.0.1:0"},
            "reverse": [
                {"bind": "127.0.0.1:0"},
                {"bind": "127.0.0.1:0", "auth": {"bearer": BEARER.decode()}},
                {"bind": "127.0.0.1:0", "auth": basic, "tls": tls},
                {"bind": f"unix:{folder}/proxy.sock", "auth": {"bearer": BEARER.decode()}},
            ],
        },
    }


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def with_bearer(case: Case) -> Client:
    return await case.connect(case.stage.process.listening["reverse"][1])


@pytest.mark.case("D-149")
async def test_the_listeners_credential_opens_it_and_goes_no_further(case: Case):
    client = await with_bearer(case)
    for scheme in (b"Bearer", b"bearer", b"BEARER"):
        answered = await client.ask(case.request(b"authorization: " + scheme + b" " + BEARER))
        assert (answered.status, answered.body) == (200, OK_BODY)
    for request in case.upstream.requests:
        assert BEARER not in request.head
        assert request.values(b"authorization") == [f"Bearer {case.token()}".encode()]


@pytest.mark.case("D-149")
@pytest.mark.connection(send_token_via={"header": {"name": "X-Api-Key", "scheme": ""}})
async def test_the_listeners_credential_is_removed_where_the_token_goes_elsewhere(case: Case):
    answered = await (await with_bearer(case)).ask(case.request(b"Authorization: Bearer " + BEARER))
    assert answered.status == 200
    assert case.upstream.requests[0].values(b"authorization") == []
    assert case.upstream.requests[0].values(b"x-api-key") == [case.token().encode()]


@pytest.mark.case("D-148")
@pytest.mark.connection(on_client_credential="reject")
async def test_the_listeners_credential_is_not_the_applications_own(case: Case):
    answered = await (await with_bearer(case)).ask(case.request(b"Authorization: Bearer " + BEARER))
    assert answered.status == 200
    assert case.upstream_requests == 1


@pytest.mark.case("D-149")
@pytest.mark.parametrize("fields", WRONG)
async def test_without_its_credential_a_listener_lets_nothing_through(case: Case, fields: list[bytes]):
    client = await with_bearer(case)
    refused = await client.ask(case.request(*fields))
    assert (refused.status, refused.code) == (401, "listener_auth_required")
    assert refused.values(b"www-authenticate") == [b"Bearer"]
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-149", "D-177")
async def test_over_tls_a_basic_credential_opens_the_listener(case: Case):
    address = case.stage.process.listening["reverse"][2]
    client = await case.connect(address, tls=client_tls())
    refused = await client.ask(case.request(b"Authorization: Basic YTpi"))
    assert (refused.status, refused.code) == (401, "listener_auth_required")
    assert refused.values(b"www-authenticate") == [b'Basic realm="iclient-proxy"']
    for _ in range(2):
        raw = case.request(b"Authorization: " + BASIC, b"Content-Length: 200000", method=b"POST", body=b"x" * 200_000)
        answered = await client.ask(raw)
        assert (answered.status, answered.body) == (200, OK_BODY)
    assert [len(request.body) for request in case.upstream.requests] == [200_000] * 2
    assert BASIC not in case.upstream.requests[0].head


@pytest.mark.case("D-125")
async def test_a_tls_listener_gets_no_request_in_plain_text(case: Case):
    client = await case.connect(case.stage.process.listening["reverse"][2])
    await client.send(case.request(b"Authorization: " + BASIC))
    assert b"HTTP/1.1 200" not in await client.read_rest()
    assert case.upstream_requests == 0


@pytest.mark.case("D-139")
async def test_a_unix_socket_serves_under_localhost_and_belongs_to_its_owner(case: Case):
    [path] = case.stage.process.sockets
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116 - a look, at once
    client = await case.connect(path)
    lines = [b"GET %s/x HTTP/1.1" % case.prefix, b"Authorization: Bearer " + BEARER]
    for host in (b"localhost", b"localhost:80"):
        answered = await client.ask(case.raw(*lines, b"Host: " + host))
        assert (answered.status, answered.body) == (200, OK_BODY)
    refused = await client.ask(case.raw(*lines, b"Host: 127.0.0.1"))
    assert (refused.status, refused.code) == (421, "misdirected_request")
    assert case.upstream_requests == 2


@pytest.mark.case("D-183")
@pytest.mark.connection(route={"prefix": "/api", "strip": False, "host": "virtual.example"})
async def test_a_route_may_have_a_host_of_its_own(case: Case):
    client = await case.connect()
    for host in (b"virtual.example", b"VIRTUAL.example:99"):
        answered = await client.ask(case.raw(b"GET /api/x?y HTTP/1.1", b"Host: " + host))
        assert (answered.status, answered.body) == (200, OK_BODY)
    assert {request.target for request in case.upstream.requests} == {b"/api/x?y"}
    refused = await client.ask(case.raw(b"GET /api/x HTTP/1.1", b"Host: localhost"))
    assert (refused.status, refused.code) == (404, "no_route")
    case.good = case.raw(b"GET /api/afterwards HTTP/1.1", b"Host: virtual.example")


@pytest.mark.case("D-183")
@pytest.mark.connection(route={"prefix": "/", "bind": "127.0.0.1:0"})
async def test_a_route_may_have_a_port_of_its_own(case: Case):
    [address] = case.stage.process.listening["route"]
    client = await case.connect(address)
    answered = await client.ask(case.raw(b"GET /any/where HTTP/1.1", b"Host: localhost"))
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert case.upstream.requests[0].target == b"/any/where"
    elsewhere = b"http://127.0.0.1:%d//elsewhere.example/x" % case.upstream.port
    case.upstream.answers(replies(response(b"", b"Location: " + elsewhere, status=b"302 Found")))
    moved = await client.ask(case.raw(b"GET /x HTTP/1.1", b"Host: localhost"))
    assert not moved.values(b"location")[0].startswith(b"//")  # a client would go to another host
    refused = await case.ask(case.raw(b"GET /any/where HTTP/1.1", b"Host: localhost"))
    assert (refused.status, refused.code) == (404, "no_route")
    case.door, case.good = address, case.raw(b"GET /afterwards HTTP/1.1", b"Host: localhost")


@pytest.mark.case("D-159")
@pytest.mark.connection(headers={"X-Tenant": "one", "User-Agent": "proxy", "X-Gone": None})
async def test_configured_headers_replace_every_case_variant_and_null_removes(case: Case):
    raw = case.request(
        b"x-tenant: two", b"X-TENANT: three", b"x_tenant: four", b"user-agent: curl", b"X-gone: 1", b"X-Kept: 1"
    )
    assert (await case.ask(raw)).status == 200
    fields = [pair for pair in case.upstream.requests[0].fields if pair[0] not in {b"Host", b"Authorization"}]
    assert sorted(fields) == [(b"User-Agent", b"proxy"), (b"X-Kept", b"1"), (b"X-Tenant", b"one")]


@pytest.mark.case("D-149")
@pytest.mark.connection(send_token_via={"header": {"name": "X-Api-Key", "scheme": ""}})
@pytest.mark.parametrize("name", [b"x-api-key", b"X_Api_Key", b"X-Api_Key", b"X-API-KEY_"])
async def test_no_spelling_of_the_tokens_header_survives_beside_ours(case: Case, name: bytes):
    assert (await case.ask(case.request(name + b": mine"))).status == 200
    fields = [pair for pair in case.upstream.requests[0].fields if pair[0] != b"Host"]
    assert fields == [(b"X-Api-Key", case.token().encode())]
