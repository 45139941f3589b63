"""Bytes that went wrong at random on their way to the forward listener, which lets claimed hosts through alone."""

from __future__ import annotations

import random

import h11
import pytest

from tests.datapath.test_mangled_bytes import ROUNDS, mangled
from tests.support.scripts import OK_BODY
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0", "unclaimed": "reject", "claimed_connect": "reject"},
        "admin": {"bind": "127.0.0.1:0"},
    }
}


@pytest.mark.case("D-101", "D-132", "D-142", "F-252", "F-258")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("form", ["absolute", "body", "connect"])
async def test_whatever_comes_the_upstream_sees_whole_requests_in_origin_form_with_their_token(
    case: Case, seed: int, form: str
):
    chance = random.Random(f"{seed} {form}")
    authority = b"127.0.0.1:%d" % case.upstream.port
    line = {"absolute": b"GET http://%s/x?y", "body": b"POST http://%s/x", "connect": b"CONNECT %s"}[form] % authority
    fields, body = ([b"Content-Length: 11"], b"hello world") if form == "body" else ([], b"")
    raw = case.raw(line + b" HTTP/1.1", b"Host: " + authority, b"Proxy-Connection: x", *fields, body=body)
    for _ in range(ROUNDS):
        sent = mangled(raw, chance)
        client = await case.connect(case.stage.process.listening["forward"][0])
        case.upstream.requests.clear()
        await client.send(sent)
        client.half_close()
        received = await client.read_rest()
        await client.close()
        whole = [request for request in case.upstream.requests if request.body_complete]
        assert received.count(OK_BODY) == len(whole), (sent, received)
        for request in whole:
            server = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=1 << 20)
            server.receive_data(request.head + request.raw_body)
            assert isinstance(server.next_event(), h11.Request), (sent, request.head)
            assert request.token == case.token()
            assert request.target.startswith(b"/") or request.line == b"OPTIONS * HTTP/1.1"
            assert request.values(b"host") == [authority]
        assert case.upstream.malformed == [], sent
