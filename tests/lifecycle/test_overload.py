"""Too much for the memory there is: first less is kept, then new requests are turned away, then all is as it was."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cgroup import WrittenCgroup
from tests.support.deadline import eventually
from tests.support.destination import Destination
from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LISTENERS = {name: {"bind": "127.0.0.1:0"} for name in ("reverse", "forward", "admin")}
NOT_REPLAYED = b'iclient-proxy; details="auth-retry-not-replayable"'


class Played:
    """The product in a cgroup whose files a test writes."""

    def __init__(self, case: Case, cgroup: WrittenCgroup) -> None:
        self.case = case
        self.cgroup = cgroup
        self.process = case.stage.process

    async def until(self, pressure: int) -> None:
        async def reached() -> bool:
            return await self.process.metric("memory_pressure") == pressure

        await eventually(f"memory pressure {pressure}", reached)

    async def looks(self, times: int = 2) -> None:
        """Wait until the memory was looked at so often; the lag of the loop is noted each time."""
        seen = await self.process.metric("loop_lag_seconds_count")

        async def seen_again() -> bool:
            return await self.process.metric("loop_lag_seconds_count") >= seen + times

        await eventually("a look at the memory", seen_again)

    async def said(self, *pressures: str) -> bool:
        """Whether these are all the changes it told of."""

        def told() -> list[str]:
            return [line["pressure"] for line in self.process.logged("memory_pressure")]

        await eventually("the log lines", lambda: len(told()) >= len(pressures))
        return told() == list(pressures)


@asynccontextmanager
async def played(folder: Path, **settings: Any) -> AsyncIterator[Played]:
    cgroup = WrittenCgroup(folder / "cgroup")
    stage = Stage({"c0": {}}, {"listeners": LISTENERS, **settings})
    stage.within = cgroup.within
    await stage.start(folder)
    try:
        case = await stage.case("c0")
        try:
            yield Played(case, cgroup)
        finally:
            cgroup.use(100)
            await case.close()
    finally:
        await stage.close()


@pytest.mark.case("L-284")
async def test_above_85_percent_each_response_ends_its_stream_and_below_80_none_does(tmp_path: Path):
    async with played(tmp_path) as on:
        client = await on.case.warm()
        on.cgroup.use(851)
        await on.until(1)
        last = await client.ask(on.case.request())
        assert (last.status, last.body, last.closes) == (200, OK_BODY, True)
        assert await client.is_closed()
        on.cgroup.use(801)
        await on.looks()
        assert (await on.case.ask(on.case.request())).closes
        on.cgroup.use(799)
        await on.until(0)
        client = await on.case.connect()
        for _ in range(2):
            answered = await client.ask(on.case.request())
            assert (answered.status, answered.closes) == (200, False)

        assert await on.said("nearly", "none")


@pytest.mark.case("L-284", "D-180")
async def test_above_85_percent_no_body_is_kept_and_what_has_none_is_still_sent_again(tmp_path: Path):
    async with played(tmp_path) as on:
        await on.case.warm()
        on.cgroup.use(851)
        await on.until(1)
        on.case.upstream.refused_tokens.add(on.case.token(1))
        got = await on.case.ask(on.case.request())
        assert (got.status, got.body) == (200, OK_BODY)
        on.case.upstream.refused_tokens.add(on.case.token(2))
        posted = await on.case.ask(on.case.request(b"Content-Length: 5", method=b"POST", body=b"hello"))

        assert (posted.status, posted.values(b"proxy-status")) == (401, [NOT_REPLAYED])
        tokens = [request.token for request in on.case.upstream.requests]
        assert tokens == [on.case.token(number) for number in (1, 2, 2)]


@pytest.mark.case("L-284")
async def test_above_95_percent_new_requests_get_503_running_ones_end_and_operators_are_answered(tmp_path: Path):
    async with played(tmp_path) as on, Destination() as far:
        gate = asyncio.Event()
        idle = await on.case.warm()
        on.case.upstream.answers(replies(response()[:-5], gate, response()[-5:]))
        running = await on.case.connect()
        await running.send(on.case.request())
        await on.case.upstream.arrived()
        on.cgroup.use(951)
        await on.until(2)
        assert await idle.is_closed()
        seen = on.case.upstream_requests
        for method, fields, body in ((b"GET", (), b""), (b"POST", (b"Content-Length: 5",), b"hello")):
            refused = await on.case.ask(on.case.request(*fields, method=method, body=body))
            assert (refused.status, refused.code, refused.closes) == (503, "overloaded", True)
            assert int(refused.values(b"retry-after")[0]) >= 1
        client = await on.case.connect(on.process.listening["forward"][0])
        tunnel = await client.ask(b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % far.authority)
        assert (tunnel.status, tunnel.code) == (503, "overloaded")
        for page in ("/livez", "/readyz", "/metrics", "/", "/api/connections"):
            assert (await on.process.admin_get(page)).status == 200
        on.cgroup.use(901)
        await on.looks()
        assert (await on.case.ask(on.case.request())).status == 503
        assert on.case.upstream_requests == seen
        gate.set()
        ended = await running.response()
        assert (ended.status, ended.body, ended.complete) == (200, OK_BODY, True)
        on.cgroup.use(899)
        await on.until(1)
        assert (await on.case.ask(on.case.request())).status == 200
        on.cgroup.use(100)
        await on.until(0)

        assert await on.said("full", "nearly", "none")
        assert await on.process.metric('local_replies_total{code="overloaded"}') == 4


@pytest.mark.case("L-284")
async def test_what_the_kernel_can_take_back_and_what_others_have_does_not_count(tmp_path: Path):
    async with played(tmp_path) as on:
        on.cgroup.use(400, cache=590)
        await on.looks()
        on.cgroup.use(300, others=690)
        await on.looks()
        assert await on.said()
        on.cgroup.limit(300)
        await on.until(2)
        on.cgroup.limit(None)
        await on.until(0)

        assert (await on.case.ask(on.case.request())).status == 200


@pytest.mark.case("L-284", "L-288")
async def test_a_proxy_that_drains_goes_on_telling_streams_to_close_when_memory_is_free_again(tmp_path: Path):
    async with played(tmp_path, shutdown={"drain_delay": "20s", "grace": "5s"}) as on:
        on.cgroup.use(851)
        await on.until(1)
        on.process.signal()
        await on.process.until_logged("draining")
        on.cgroup.use(100)
        await on.until(0)

        assert (await on.case.ask(on.case.request())).closes
        on.process.signal()
        assert await on.process.exit_status() == 0
