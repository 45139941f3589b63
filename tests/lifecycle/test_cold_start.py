"""A crowd that comes before the first token, or whose token is refused all at once: one renewal, and nobody fails."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, response, unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lifecycle.conftest import Play
    from tests.support.stage import Case
    from tests.support.upstream import Request, Script

REQUESTS = 10_000
STREAMS = 2_500
REFUSED = 1_000
LATER = 200
PATIENCE = 30.0  # seconds that a crowd may take on a busy machine
SERVED = b"HTTP/1.1 200 OK\r\n"
# A crowd dials all at once, and who can't be accepted in time is not what these tests are about.
PATIENT = {"timeouts": {"connect": "30s"}}


@pytest.fixture(autouse=True)
def many_files() -> Iterator[int]:
    """Let this process, and the product that inherits it, open as many files as they may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def crowd(case: Case, streams: int) -> list[Client]:
    """Open so many streams, a hundred at a time."""
    clients: list[Client] = []
    while len(clients) < streams:
        clients += await asyncio.gather(*(case.connect() for _ in range(min(100, streams - len(clients)))))
    return clients


def refuses_all_at_once(case: Case, gate: asyncio.Event, refusal: Callable[[Request], bytes]) -> Script:
    """Refuse the first token of the case once the gate is open, and serve every other one."""

    async def script(request: Request) -> None:
        if request.token != case.token(1):
            await request.send(response())
            return
        await gate.wait()
        await request.send(refusal(request))

    return script


async def all_served(client: Client, requests: int) -> None:
    """Read one good response after the other, as bare bytes, since an own parser would be slower than the proxy."""
    received = bytearray()
    while received.count(OK_BODY) < requests:
        data = await client.read()
        assert data, f"the stream ended: {bytes(received[-500:])!r}"
        received += data
    assert received.count(SERVED) == received.count(b"HTTP/1.1 ") == requests, bytes(received[:500])


@pytest.mark.case("R-361")
async def test_a_crowd_that_comes_before_the_first_token_asks_for_one_token(play: Play, many_files: int):
    case = await play(PATIENT, log={"access": False})
    # The product may have half of its files as streams of applications; ours hold both ends' peers.
    streams = min(STREAMS, many_files // 2 - 100, many_files - 1_500)
    per_stream = [REQUESTS // streams + (number < REQUESTS % streams) for number in range(streams)]
    gate = case.stage.tokens.held["c0"] = asyncio.Event()
    clients = await crowd(case, streams)
    for client, count in zip(clients, per_stream, strict=True):
        await client.send(case.request() * count)
    await eventually("all streams waiting", lambda: waiting(case, streams))
    assert (case.token_requests, case.upstream_requests) == (1, 0)
    gate.set()
    async with awaiting("all responses", PATIENCE):
        await asyncio.gather(*(all_served(*each) for each in zip(clients, per_stream, strict=True)))
    assert (case.token_requests, case.upstream_requests) == (1, REQUESTS)
    assert {request.token for request in case.upstream.requests} == {case.token(1)}


async def waiting(case: Case, exchanges: int) -> bool:
    return await case.stage.process.metric("in_flight_requests") == exchanges


@pytest.mark.case("R-362")
async def test_the_one_that_started_the_token_request_leaves_and_the_others_get_the_token(play: Play):
    case = await play()
    gate = case.stage.tokens.held["c0"] = asyncio.Event()
    first = await case.connect()
    await first.send(case.request(target=b"/first"))
    async with awaiting("the token request"):
        await case.stage.tokens.asked_by("c0", 1)
    others = await crowd(case, LATER)
    for client in others:
        await client.send(case.request())
    await eventually("all of them waiting", lambda: waiting(case, LATER + 1))
    first.reset()
    await eventually("the end of the first", lambda: waiting(case, LATER))
    gate.set()
    await asyncio.gather(*(all_served(client, 1) for client in others))
    assert (case.token_requests, case.upstream_requests) == (1, LATER)
    assert all(b"/first" not in request.target for request in case.upstream.requests)


@pytest.mark.case("R-368")
async def test_a_crowd_whose_token_is_refused_at_once_asks_for_one_more_and_is_sent_once_more(play: Play):
    case = await play(PATIENT, log={"access": False})
    await case.warm()
    everybody_here = asyncio.Event()
    case.upstream.always(refuses_all_at_once(case, everybody_here, lambda _: unauthorized()))
    clients = await crowd(case, REFUSED)
    for number, client in enumerate(clients):
        await client.send(case.request(target=b"/%d" % number))
    await case.upstream.arrived(REFUSED)
    everybody_here.set()
    async with awaiting("all responses", PATIENCE):
        await asyncio.gather(*(all_served(client, 1) for client in clients))
    assert (case.token_requests, case.upstream_requests) == (2, 2 * REFUSED)
    seen = sorted((request.target, request.token) for request in case.upstream.requests)
    assert seen == sorted((b"/%d" % number, case.token(n)) for number in range(REFUSED) for n in (1, 2))
