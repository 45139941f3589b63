"""A process that stands still, as a machine does that is suspended, short of CPU or moved, while its answer comes."""

import asyncio

import pytest

from tests.chaos.kills import victim_on_disk
from tests.chaos.pacing import lasting
from tests.chaos.rotation import Hold
from tests.support.deadline import awaiting

LONGER_THAN_A_TOKEN_REQUEST = 3.5  # seconds; a victim's `token_total` is 3


@pytest.mark.case("R-371")
async def test_an_answer_that_came_while_the_process_stood_still_is_not_thrown_away(tmp_path):
    async with victim_on_disk(tmp_path, grace=False) as victim:
        victim.plant()
        await victim.start()
        try:
            await victim.ask()
            hold = victim.server.hold(Hold())
            renewing = asyncio.create_task(victim.renew(), name="renew")
            async with awaiting("the token request"):
                await hold.arrived.wait()
            async with victim.process.frozen():
                hold.commit.set()
                hold.answer.set()
                await victim.server.answered()
                await lasting(LONGER_THAN_A_TOKEN_REQUEST)
            renewed = await renewing
        finally:
            await victim.end()

        assert renewed.status == 200
        assert victim.server.uses(victim.family) == [0, 1]
