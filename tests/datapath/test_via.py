"""`via: always`: the proxy names itself to the upstream, and knows its own name when it comes back."""

from __future__ import annotations

import re

import pytest

from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"via": "always"}


async def own_name(case: Case) -> bytes:
    assert (await case.ask(case.request())).status == 200
    [via] = case.upstream.requests[0].values(b"via")
    return via


@pytest.mark.case("D-157")
async def test_our_via_is_added_under_a_name_of_this_process(case: Case):
    assert re.fullmatch(rb"1\.1 iclient-proxy-[0-9a-f]{8}", await own_name(case))


@pytest.mark.case("D-157")
async def test_our_via_follows_those_that_were_there(case: Case):
    name = await own_name(case)
    assert (await case.ask(case.request(b"Via: 1.0 fred, 1.1 barney", b"X-A: 1", b"via: 1.1 wilma"))).status == 200
    joined = b", ".join(case.upstream.requests[1].values(b"via"))
    assert joined == b"1.0 fred, 1.1 barney, 1.1 wilma, " + name


@pytest.mark.case("D-158")
@pytest.mark.parametrize("form", [b"%s", b"1.0 fred, %s", b"%s, 1.1 wilma", b"1.1 a,%s (comment)"])
async def test_a_request_that_carries_our_own_via_is_a_loop(case: Case, form: bytes):
    name = await own_name(case)
    before = case.upstream_requests
    refused = await case.ask(case.request(b"Via: " + form % name))
    assert (refused.status, refused.code) == (502, "proxy_loop_detected")
    assert case.upstream_requests == before


@pytest.mark.case("D-158")
async def test_the_via_of_another_proxy_of_the_same_kind_is_no_loop(case: Case):
    assert (await case.ask(case.request(b"Via: 1.1 iclient-proxy-00000000"))).status == 200
    assert case.upstream_requests == 1
