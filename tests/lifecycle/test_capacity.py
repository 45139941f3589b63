"""How many streams there may be: one too many is told so, and the operators' door stays open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY, replies_then_fin, response

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Play


@pytest.mark.case("L-282")
async def test_a_stream_beyond_the_limit_is_turned_away_and_the_admin_listener_is_not(play: Play):
    case = await play(limits={"connections": 8})
    clients = [await case.connect() for _ in range(8)]
    for client in clients:
        assert (await client.ask(case.request())).status == 200
    ninth = await case.connect()
    refused = await ninth.response()
    assert (refused.status, refused.code, refused.closes) == (503, "overloaded", True)
    assert int(refused.values(b"retry-after")[0]) >= 1
    assert await ninth.is_closed()
    assert (await case.stage.process.admin_get("/readyz")).status == 200
    assert (await clients[0].ask(case.request())).status == 200  # who was there before is not disturbed
    assert case.upstream_requests == 9
    await clients.pop().close()

    async def served() -> bool:
        client = await case.connect()
        answered = await client.ask(case.request())
        await client.close()
        return (answered.status, answered.body) == (200, OK_BODY)

    await eventually("a place that has become free", served)


@pytest.mark.case("L-282")
async def test_streams_that_were_turned_away_are_counted_and_leave_no_files(play: Play):
    case = await play(limits={"connections": 2})
    kept = [await case.connect() for _ in range(2)]
    for client in kept:
        await client.ask(case.request())
    process = case.stage.process
    before = process.open_files()
    for _ in range(20):
        client = await case.connect()
        assert (await client.response()).status == 503
        await client.close()
    assert await process.metric('local_replies_total{code="overloaded"}') == 20
    await eventually("the end of their files", lambda: process.open_files() <= before)
    assert case.upstream_requests == 2


@pytest.mark.case("P-219", "P-220")
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_request_that_waits_for_a_stream_does_not_get_one_that_the_upstream_closed(play: Play, method: bytes):
    case = await play(limits={"upstream_streams": 1})
    answer = asyncio.Event()
    case.upstream.answers(replies_then_fin(answer, response()))
    first, second = await case.connect(), await case.connect()
    await first.send(case.request())
    before_it = await case.upstream.arrived()
    await second.send(case.request(b"Content-Length: 5", method=method, body=b"hello"))

    async def waits() -> bool:
        return await case.stage.process.metric("in_flight_requests") == 2

    await eventually("a request that waits for the only stream", waits)
    async with case.stage.process.frozen():  # so that it finds the response with the end of the stream behind it
        answer.set()
        await eventually("the upstream's end of the stream", lambda: before_it.finished)
    assert [(await client.response()).status for client in (first, second)] == [200, 200]
    assert [(request.method, request.stream.number) for request in case.upstream.requests] == [(b"GET", 1), (method, 2)]
