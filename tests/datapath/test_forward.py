"""The forward listener: requests that name a whole URL, as applications with HTTP_PROXY send them."""

from __future__ import annotations

import re

import pytest

from tests.support.scripts import OK_BODY
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0"},
        "admin": {"bind": "127.0.0.1:0"},
    }
}


def door(case: Case) -> tuple[str, int]:
    return case.stage.process.listening["forward"][0]


def authority(case: Case) -> bytes:
    return b"127.0.0.1:%d" % case.upstream.port


def request(case: Case, *fields: bytes, target: bytes = b"/x", method: bytes = b"GET", body: bytes = b"") -> bytes:
    line = b"%s http://%s%s HTTP/1.1" % (method, authority(case), target)
    return case.raw(line, b"Host: " + authority(case), *fields, body=body)


async def test_a_claimed_url_gets_its_token_and_keeps_its_target(case: Case):
    client = await case.connect(door(case))
    target = b"/a//b/%7e?b=2&a=1&a=%20"
    answered = await client.ask(request(case, b"X-A: 1", target=target))
    assert (answered.status, answered.body) == (200, OK_BODY)
    [seen] = case.upstream.requests
    assert seen.target == target
    assert seen.values(b"host") == [authority(case)]
    assert seen.values(b"authorization") == [f"Bearer {case.token()}".encode()]
    assert re.fullmatch(rb"1\.1 iclient-proxy-[0-9a-f]{8}", seen.values(b"via")[0])


async def test_a_blind_tunnel(case: Case):
    client = await case.connect(door(case))
    await client.send(b"CONNECT " + authority(case) + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await client.send(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.response()).status == 200
    assert case.upstream.requests[0].values(b"authorization") == []
