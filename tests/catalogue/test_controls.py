"""What guards the cases notices what it is there for: lost requests, strangers, streams left open, words of a log."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import seen, traffic
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.scripts import replies, replies_then_resets, response
from tests.support.stage import Stage
from tests.support.traffic import Beside
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.upstream import Script


@asynccontextmanager
async def server(script: Script | None = None) -> AsyncIterator[Beside]:
    """Good requests that go straight to a server, not by way of the product: they bring no token."""
    upstream = Upstream(listen())
    beside = Beside(("127.0.0.1", upstream.port), gentle=False, ended=lambda: False)
    upstream.always(script or beside.answer)
    await upstream.start()
    try:
        yield beside
    finally:
        await upstream.close()


@pytest.fixture
def run():
    """What this test counts is forgotten: its losses are wanted."""
    yield
    seen.begin("")


@pytest.mark.parametrize(
    "script",
    [
        replies(response(b"of somebody else", b"X-Id: good-1")),
        replies_then_resets(),
        replies(response(status=b"502 No")),
    ],
    ids=["another body", "a reset", "another status"],
)
async def test_a_good_request_without_its_own_response_is_lost(script: Script, run: None):
    async with server(script) as beside:
        with pytest.raises(AssertionError, match="good requests were lost"):
            async with beside.going("control"):
                pass

    assert seen.now().beside["lost"] >= 1
    assert seen.now().beside["good requests"] == 0


async def test_a_request_with_another_token_or_none_is_a_stranger(run: None):
    async with server() as beside:
        with pytest.raises(AssertionError, match="did not belong"):
            async with beside.going("control"):
                pass

    assert seen.now().beside["leaks"] >= 1


async def test_a_good_request_that_comes_twice_is_lost(run: None):
    async with server() as beside:
        beside._reached = {b"good-%d" % number: 1 for number in range(1000)}  # noqa: SLF001
        with pytest.raises(AssertionError, match="good requests were lost"):
            async with beside.going("control"):
                pass


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage({"c0": {}, "c1": {}}, {})
    await made.start(tmp_path)
    try:
        yield made
    finally:
        made.process.lines.clear()
        await made.close()


async def test_a_stream_that_is_left_open_is_no_rest(stage: Stage):
    case = await stage.case("c0")
    assert (await case.ask(case.request())).status == 200
    left = [await Client.connect(stage.process.reverse) for _ in range(5)]  # a file of the start may go meanwhile
    for client in left:
        await client.ask(case.request())

    await case.traffic.aclose()
    await case.leave()
    await case.upstream.close()
    assert not await stage._is_at_rest()  # noqa: SLF001

    for client in left:
        await client.close()
    await eventually("rest", stage._is_at_rest)  # noqa: SLF001
    stage.cases.clear()


@pytest.mark.parametrize(
    "words", ["Traceback (most recent call last):", "Task exception was never retrieved", "canary-x"]
)
async def test_what_no_process_may_write_fails_the_case_that_it_was_written_in(stage: Stage, words: str):
    first, second = await stage.case("c0"), await stage.case("c1", counted=False)
    await first.ask(first.request())
    stage.process.lines.append(words)

    with pytest.raises(AssertionError, match="the process wrote"):
        await first.close()

    stage.process.lines.remove(words)
    await second.close()


async def test_a_token_of_the_traffic_at_the_upstream_of_a_case_fails_it(stage: Stage):
    case = await stage.case("c0", counted=False)
    leaked = f"Authorization: Bearer canary-token-{traffic.NAME}-1".encode()
    client = await Client.connect(("127.0.0.1", case.upstream.port))
    await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + leaked + b"\r\n\r\n")
    await client.close()

    with pytest.raises(AssertionError, match="came here"):
        await case.close()
