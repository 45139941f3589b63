"""SIGTERM: say so, go on accepting for a while, let what is under way end, exit 0; a second signal ends at once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, replies, response, stalls, tunnels

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Play
    from tests.support.stage import Case

SOON = 5.0  # seconds: far below the grace of the tests that use it


async def readiness(case: Case) -> int:
    return (await case.stage.process.admin_get("/readyz")).status


@pytest.mark.case("L-288")
async def test_under_load_no_client_sees_an_error_and_streams_are_told_to_close(play: Play):
    case = await play(shutdown={"drain_delay": "1500ms", "grace": "10s"})
    process = case.stage.process
    told, after_signal = asyncio.Event(), asyncio.Event()
    statuses: list[int] = []
    closing: list[bool] = []

    async def application() -> None:
        while not told.is_set():
            client = await case.connect()
            while not told.is_set():
                answered = await client.ask(case.request())
                statuses.append(answered.status)
                if after_signal.is_set():
                    closing.append(answered.closes)
                if answered.closes:
                    break
            await client.close()

    applications = [asyncio.create_task(application()) for _ in range(8)]
    await eventually("some load", lambda: len(statuses) > 200)
    assert await readiness(case) == 200
    process.signal()
    await process.until_logged("draining")
    after_signal.set()
    assert await readiness(case) == 503
    seen = len(closing)
    await eventually("streams of the time of draining", lambda: len(closing) > seen + 50)
    told.set()
    await asyncio.gather(*applications)
    assert set(statuses) == {200}
    assert closing.count(False) <= len(applications)  # answers that were on their way when the signal came
    assert await process.exit_status() == 0


@pytest.mark.case("L-288")
async def test_an_exchange_under_way_ends_in_peace_after_the_listener_has_closed(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "30s"})
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response(b"late")))
    client, idle = await case.connect(), await case.connect()
    await client.send(case.request())
    await case.upstream.arrived()
    case.stage.process.signal()
    assert await idle.is_closed()  # the listener is shut by now
    with pytest.raises(ConnectionRefusedError):
        await case.connect()
    gate.set()
    answered = await client.response()
    assert (answered.status, answered.body, answered.closes) == (200, b"late", True)
    assert await case.stage.process.exit_status() == 0


@pytest.mark.case("L-288")
async def test_an_idle_stream_does_not_hold_the_process(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "30s"})
    client = await case.connect()
    assert (await client.ask(case.request())).body == OK_BODY
    case.stage.process.signal()
    assert await client.is_closed()
    assert await case.stage.process.exit_status(SOON) == 0


@pytest.mark.case("L-288")
async def test_what_outlasts_the_grace_is_cut(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "300ms"})
    case.upstream.answers(stalls)
    client = await case.connect()
    await client.send(case.request())
    request = await case.upstream.arrived()
    case.stage.process.signal()
    await client.read_rest()
    async with awaiting("the end of the upstream stream"):
        await request.gone()
    assert await case.stage.process.exit_status(SOON) == 0


@pytest.mark.case("L-290")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("drain_delay", ["10ms", "30s"], ids=["in-grace", "in-drain-delay"])
async def test_a_second_signal_ends_at_once(play: Play, second: signal.Signals, drain_delay: str):
    case = await play(shutdown={"drain_delay": drain_delay, "grace": "60s"})
    case.upstream.answers(stalls)
    client = await case.connect()
    await client.send(case.request())
    request = await case.upstream.arrived()
    process = case.stage.process
    process.signal()
    await process.until_logged("draining")
    process.signal(second)
    assert await process.exit_status(SOON) == 0
    assert b"200" not in await client.read_rest()
    async with awaiting("the end of the upstream stream"):
        await request.gone()


@pytest.mark.case("L-290")
async def test_sigint_stops_like_sigterm(play: Play):
    case = await play()
    case.stage.process.signal(signal.SIGINT)
    assert await case.stage.process.exit_status(SOON) == 0


@pytest.mark.case("L-291")
async def test_a_signal_while_the_definitions_are_read_ends_the_process(play: Play):
    case = await play(serving=False)
    case.stage.process.signal()
    assert await case.stage.process.exit_status(SOON) in {0, -signal.SIGTERM}
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("L-291")
async def test_a_signal_while_the_first_token_is_fetched_ends_the_process(play: Play):
    case = await play({"prefetch": True, "required": True}, serving=False)
    case.stage.tokens.held["c0"] = asyncio.Event()
    process = case.stage.process
    await process.until_listening()
    async with awaiting("the first token request"):
        await case.stage.tokens.asked_by("c0", 1)
    assert await readiness(case) == 503
    process.signal()
    assert await process.exit_status(SOON) == 0
    assert case.token_requests == 1


@pytest.mark.case("L-291")
async def test_a_start_that_is_broken_off_before_anybody_knows_of_it_waits_for_nobody(play: Play):
    case = await play({"prefetch": True, "required": True}, serving=False, shutdown={"drain_delay": "60s"})
    case.stage.tokens.held["c0"] = asyncio.Event()
    process = case.stage.process
    await process.until_listening()
    assert await readiness(case) == 503
    process.signal()
    assert await process.exit_status(SOON) == 0


@pytest.mark.case("L-291")
async def test_a_start_that_is_broken_off_while_somebody_calls_drains(play: Play):
    case = await play({"prefetch": True, "required": True}, serving=False, shutdown={"drain_delay": "60s"})
    gate = case.stage.tokens.held["c0"] = asyncio.Event()
    process = case.stage.process
    await process.until_listening()
    client = await case.connect()
    await client.send(case.request())
    await case.stage.tokens.asked_by("c0", 1)
    process.signal()
    await process.until_logged("draining")
    gate.set()
    assert (await client.response()).status == 200
    assert (await case.ask(case.request())).status == 200  # a stream of the time of draining
    process.signal()
    assert await process.exit_status(SOON) == 0


@pytest.mark.case("L-291")
async def test_a_request_that_waits_for_a_token_when_the_second_signal_comes_is_cut(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "60s"})
    case.stage.tokens.held["c0"] = asyncio.Event()
    client = await case.connect()
    await client.send(case.request())
    async with awaiting("the token request"):
        await case.stage.tokens.asked_by("c0", 1)
    process = case.stage.process
    process.signal()
    await process.until_logged("draining")
    process.signal()
    assert await process.exit_status(SOON) == 0
    assert case.upstream_requests == 0


@pytest.mark.case("W-280")
async def test_open_tunnels_end_with_the_grace(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "300ms"})
    case.upstream.always(tunnels())
    clients = [await case.connect() for _ in range(10)]
    for client in clients:
        await client.send(case.request(b"Connection: Upgrade", b"Upgrade: websocket"))
        assert (await client.response(upgrade=True)).status == 101
    case.stage.process.signal()
    await clients[0].send(b"still")
    assert await clients[0].read_exactly(5) == b"still"
    for client in clients:
        await client.read_rest()
    assert await case.stage.process.exit_status(SOON) == 0
    for stream in case.upstream.streams:
        async with awaiting("the end of a tunnel"):
            await stream.lost.wait()


@pytest.mark.case("L-289")
async def test_quitquitquit_drains_and_exits(play: Play):
    case = await play()
    process = case.stage.process
    refused = await process.admin_get("/quitquitquit")
    assert refused.status == 405
    answered = await process.admin_post("/quitquitquit")
    assert (answered.status, answered.body) == (200, b"draining\n")
    assert await process.exit_status(SOON) == 0


@pytest.mark.case("L-289", "L-290")
async def test_whoever_quits_twice_and_a_first_signal_after_it_hurry_nobody_but_a_second_one_does(play: Play):
    case = await play(shutdown={"drain_delay": "10ms", "grace": "60s"})
    gate = asyncio.Event()
    case.upstream.answers(replies(gate, response(b"late")), stalls)
    client, stalled = await case.connect(), await case.connect()
    await client.send(case.request())
    await case.upstream.arrived()
    await stalled.send(case.request())
    await case.upstream.arrived(2)
    process = case.stage.process
    for _ in range(3):
        assert (await process.admin_post("/quitquitquit")).status == 200
    assert await readiness(case) == 503
    process.signal()
    gate.set()
    assert (await client.response()).body == b"late"
    process.signal()
    assert await process.exit_status(SOON) == 0
    assert b"200" not in await stalled.read_rest()
    assert len(process.logged("draining")) == 1
