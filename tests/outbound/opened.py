"""Whoever waits for a stream of a pool, as an exchange does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.errors import Refusal
    from proxy.exchange.stream import Stream
    from proxy.outbound.pool import Pool


async def opened(pool: Pool) -> Stream:
    """Have the pool dial, and return the stream; raises the refusal where there is none."""
    found: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    class Waiting:
        def opened(self, stream: Stream) -> None:
            found.set_result(stream)

        def broken(self, refusal: Refusal) -> None:
            found.set_exception(refusal)

    pool.open(Waiting())
    async with asyncio.timeout(5):
        return await found
