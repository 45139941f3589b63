import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.chaos.kills import IN_REDIS, Point, hunt, victim_in_redis
from tests.support.redis_server import redis_server


@pytest.mark.case("R-375")
@pytest.mark.needs("strace", "redis-server")
@pytest.mark.timeout(180)
async def test_whoever_is_killed_goes_on_with_what_redis_has_once_the_turn_of_the_dead_has_ended(tmp_path):
    async with AsyncExitStack() as after:
        redis = await after.enter_async_context(redis_server())
        hunts = []
        for number, way in enumerate(IN_REDIS):  # side by side: each start waits for a turn to end
            folder = tmp_path / str(number)
            folder.mkdir()
            victim = await after.enter_async_context(victim_in_redis(folder, redis, grace=bool(number % 2)))
            hunts.append(hunt(victim, [way], 1))
        seen = await asyncio.gather(*hunts)

    assert [fault for each in seen for fault in each.faults] == []
    assert {way.point for each in seen for way in each.kills} == set(Point)
