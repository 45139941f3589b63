"""`via: never`: not even a forward listener, here on a unix socket, tells upstreams that there is a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stage import Case

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")


def SETTINGS(folder: Path) -> dict[str, Any]:  # noqa: N802 - a setting like those of the other modules, made late
    return {
        "via": "never",
        "listeners": {
            "reverse": {"bind": "127.0.0.1:0"},
            "forward": {"bind": f"unix:{folder}/p.sock"},
            "admin": {"bind": "127.0.0.1:0"},
        },
    }


@pytest.mark.case("D-157")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost"])
async def test_no_via_is_added(case: Case, host: bytes):
    [path] = case.stage.process.sockets
    client = await case.connect(path)
    raw = case.raw(b"GET http://%s:%d/ HTTP/1.1" % (host, case.upstream.port), b"Host: x", b"Via: 1.0 fred")
    assert (await client.ask(raw)).status == 200
    assert case.upstream.requests[0].values(b"via") == [b"1.0 fred"]
