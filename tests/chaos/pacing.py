"""Times of day of an attack: load comes at a pace, and a disturbance lasts as long as it is meant to."""

from __future__ import annotations

import asyncio


async def until(moment: float) -> None:
    """Return at that time of the running loop."""
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    timer = loop.call_at(moment, lambda: reached.done() or reached.set_result(None))
    try:
        await reached
    finally:
        timer.cancel()


async def lasting(seconds: float) -> None:
    """Return after so many seconds."""
    await until(asyncio.get_running_loop().time() + seconds)
