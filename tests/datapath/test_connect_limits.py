"""How many tunnels there may be, and how long one in which nothing moves stays open."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.datapath.test_connect import ESTABLISHED, asked, connect, no_tunnel, tunnel
from tests.support.deadline import awaiting
from tests.support.destination import Destination
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST = 3
SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0"},
        "admin": {"bind": "127.0.0.1:0"},
    },
    "limits": {"tunnels": MOST, "tunnel_idle": "1s"},
}


@pytest_asyncio.fixture(loop_scope="module")
async def far_side():
    async with Destination() as destination:
        yield destination


@pytest.mark.case("F-256")
async def test_of_many_that_ask_at_once_no_more_than_the_limit_are_dialled(case: Case, far_side: Destination):
    clients = [await asked(case, connect(far_side.authority)) for _ in range(20)]
    heads = [await client.read_until(b"\r\n\r\n") for client in clients]
    passed = [client for client, head in zip(clients, heads, strict=True) if head == ESTABLISHED]
    refused = [head for head in heads if head != ESTABLISHED]
    for _ in passed:
        await far_side.stream()

    assert (len(passed), far_side.accepted) == (MOST, MOST)
    assert all(b'details="tunnel_limit"' in head and b"Retry-After: 1\r\n" in head for head in refused)
    assert {head.split(b"\r\n")[0] for head in refused} == {b"HTTP/1.1 503 Service Unavailable"}
    for client in passed:
        client.reset()
    await no_tunnel(case)


@pytest.mark.case("F-256")
@pytest.mark.parametrize("end", ["application", "destination", "refused"])
async def test_a_tunnel_that_ends_makes_place_for_another(case: Case, far_side: Destination, end: str):
    for _ in range(MOST + 2):
        if end == "refused":
            client = await asked(case, connect(b"169.254.169.254:80"))
            assert (await client.response()).status == 403
            continue
        client, far = await tunnel(case, far_side)
        if end == "application":
            client.half_close()
            await far.close()
        else:
            far.reset()
        await client.read_rest()
        await no_tunnel(case)

    client, _ = await tunnel(case, far_side)
    client.reset()
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_tunnel_in_which_nothing_moves_is_closed(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    await client.send(b"once")
    assert await far.read_exactly(4) == b"once"

    assert await client.read_rest() == b""
    assert await far.read_rest() == b""
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_tunnel_that_is_held_by_a_slow_application_is_not_taken_for_silent(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side, receive_buffer=4096)
    size = 16 << 20
    far.write(bytes(size))
    got = 0
    async with awaiting("a slow application's bytes", 60):
        while got < size:
            piece = await client.read_exactly(min(4 << 20, size - got))
            got += len(piece)
            assert piece

    assert got == size
    client.reset()
    await no_tunnel(case)
