"""A forward listener that lets only those in who show its credential, and only to hosts that a connection claims."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter

import pytest

from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "canary-proxy-password"
GOOD = b"Basic " + base64.b64encode(b"app:" + PASSWORD.encode())
SETTINGS = {
    "allow_inline_secrets": True,
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {
            "bind": "127.0.0.1:0",
            "unclaimed": "reject",
            "claimed_connect": "reject",
            "proxy_auth": {"username": "app", "password": PASSWORD},
        },
        "admin": {"bind": "127.0.0.1:0"},
    },
}


async def application(case: Case) -> Client:
    return await case.connect(case.stage.process.listening["forward"][0])


async def guests_are_looked_at(case: Case) -> None:
    """Wait until a right credential is looked at again, whoever guessed before."""
    client = await application(case)
    raw = case.raw(b"GET http://unclaimed.example/ HTTP/1.1", b"Host: x", showing())

    async def passes() -> bool:
        return (await client.ask(raw)).status == 403

    await eventually("a right credential that is looked at", passes)


def authority(case: Case, host: bytes = b"127.0.0.1") -> bytes:
    return b"%s:%d" % (host, case.upstream.port)


def request(case: Case, *fields: bytes, host: bytes = b"127.0.0.1", method: bytes = b"GET") -> bytes:
    line = b"%s http://%s/x HTTP/1.1" % (method, authority(case, host))
    return case.raw(line, b"Host: " + authority(case, host), *fields)


def showing(credential: bytes = GOOD) -> bytes:
    return b"Proxy-Authorization: " + credential


@pytest.mark.case("F-267")
async def test_the_proxys_credential_opens_it_and_goes_no_further(case: Case):
    await guests_are_looked_at(case)
    client = await application(case)
    for scheme in (b"Basic", b"basic", b"BASIC"):
        answered = await client.ask(request(case, showing(GOOD.replace(b"Basic", scheme))))
        assert (answered.status, answered.body) == (200, OK_BODY)
    for seen in case.upstream.requests:
        assert seen.values(b"proxy-authorization") == []
        assert GOOD[6:] not in seen.head
        assert seen.values(b"authorization") == [f"Bearer {case.token()}".encode()]


@pytest.mark.case("F-267")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="none"),
        pytest.param([showing(GOOD + b"x")], id="longer"),
        pytest.param([showing(GOOD[:-1])], id="shorter"),
        pytest.param([showing(b"Bearer " + GOOD[6:])], id="scheme"),
        pytest.param([showing(GOOD[6:])], id="no-scheme"),
        pytest.param([showing(), showing()], id="twice"),
        pytest.param([showing(), showing(b"Basic eA==")], id="two"),
        pytest.param([b"Authorization: " + GOOD], id="authorization"),
    ],
)
async def test_without_its_credential_nothing_passes(case: Case, fields: list[bytes]):
    client = await application(case)
    for method, host in ((b"GET", b"127.0.0.1"), (b"GET", b"localhost")):
        answered = await client.ask(request(case, *fields, host=host, method=method))
        assert (answered.status, answered.code) == (407, "proxy_auth_required")
        assert answered.values(b"proxy-authenticate") == [b'Basic realm="iclient-proxy"']
    refused = await client.ask(case.raw(b"CONNECT %s HTTP/1.1" % authority(case), b"Host: x", *fields))
    assert (refused.status, refused.code) == (407, "proxy_auth_required")
    assert await client.is_closed()
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("F-267")
async def test_no_more_than_ten_guesses_a_second_are_looked_at(case: Case):
    await guests_are_looked_at(case)
    known = await application(case)
    assert (await known.ask(request(case, showing()))).status == 200
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers: Counter[str] = Counter()
    client = await application(case)
    for _ in range(300):
        answered = await client.ask(request(case, showing(b"Basic " + base64.b64encode(os.urandom(12)))))
        assert answered.status == 407
        answers["not looked at" if answered.values(b"retry-after") else "looked at"] += 1
    assert 1 <= answers["looked at"] <= 11 + 10 * (loop.time() - began)
    assert case.upstream_requests == 1
    # Who has shown it on this stream before does not suffer from those who guess.
    assert (await known.ask(request(case, showing()))).status == 200
    await guests_are_looked_at(case)


async def test_what_no_connection_claims_is_refused(case: Case):
    await guests_are_looked_at(case)
    client = await application(case)
    answered = await client.ask(request(case, showing(), host=b"localhost"))
    assert (answered.status, answered.code) == (403, "unclaimed_host")
    for target in (authority(case, b"localhost"), b"127.0.0.1:1"):
        refused = await (await application(case)).ask(case.raw(b"CONNECT %s HTTP/1.1" % target, b"Host: x", showing()))
        assert (refused.status, refused.code) == (403, "unclaimed_host")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


async def test_a_connect_to_a_claimed_host_is_refused_where_it_could_not_get_its_token(case: Case):
    await guests_are_looked_at(case)
    client = await application(case)
    refused = await client.ask(case.raw(b"CONNECT %s HTTP/1.1" % authority(case), b"Host: x", showing()))
    assert (refused.status, refused.code) == (403, "interception_required")
    assert await client.is_closed()
    assert len(case.upstream.streams) == 0


@pytest.mark.case("F-258")
async def test_health_needs_no_credential_and_an_origin_form_gets_no_challenge(case: Case):
    client = await application(case)
    refused = await client.ask(case.raw(b"GET /x HTTP/1.1", b"Host: x"))
    assert (refused.status, refused.code) == (400, "absolute_form_required")
    assert (await client.ask(case.raw(b"GET /healthz HTTP/1.1", b"Host: x"))).status == 200
