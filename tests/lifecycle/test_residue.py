"""What a reload replaces is gone afterwards: a pod that lives for months is reloaded many times."""

from __future__ import annotations

import json
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.nightly.soak_world import World
from tests.support.deadline import eventually
from tests.support.process import Process
from tests.support.stage import SECRET

if TYPE_CHECKING:
    from pathlib import Path

FIRST, ALL = 3, 13
# A changed connection that stayed would be about 70 objects and 2 timers, ten times.
OBJECTS = 350
TIMERS = 5


@pytest.mark.case("L-292", "L-299")
async def test_reloads_that_change_a_connection_leave_no_keeper_no_timer_and_no_stream_behind(tmp_path: Path):
    async with AsyncExitStack() as after:
        world = await after.enter_async_context(World())
        process = await Process.start(
            world.definitions(), tmp_path, {"CLIENT_SECRET": SECRET}, program=("tests.support.insides",)
        )
        after.push_async_callback(process.stop)
        await process.until_listening("reverse", "forward", "admin")
        then: dict[str, Any] = {}

        async def inside() -> dict[str, Any]:
            times = len(process.logged("insides")) + 1
            process.signal(signal.SIGUSR1)
            return await process.until_logged("insides", times)

        async def tidied() -> bool:
            now = await inside()
            return now["timers"] <= then["timers"] + TIMERS and now["objects"] <= then["objects"] + OBJECTS

        for number in range(1, ALL + 1):
            (tmp_path / "definitions.yaml").write_text(json.dumps(world.definitions(str(number))))
            process.signal(signal.SIGHUP)
            await process.until_logged("reload", number, outcome="applied", changed="changing")
            if number == FIRST:
                then = await inside()

        await eventually("a process that holds what it held after three reloads", tidied)
        assert await process.stop() == 0
        process.assert_clean()
