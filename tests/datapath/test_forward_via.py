"""`via: never`: not even the forward listener tells upstreams that there is a proxy."""

from __future__ import annotations

import pytest

from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "via": "never",
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0"},
        "admin": {"bind": "127.0.0.1:0"},
    },
}


@pytest.mark.case("D-157")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost"])
async def test_no_via_is_added(case: Case, host: bytes):
    client = await case.connect(case.stage.process.listening["forward"][0])
    raw = case.raw(b"GET http://%s:%d/ HTTP/1.1" % (host, case.upstream.port), b"Host: x", b"Via: 1.0 fred")
    assert (await client.ask(raw)).status == 200
    assert case.upstream.requests[0].values(b"via") == [b"1.0 fred"]
