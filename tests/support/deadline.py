"""How long a test waits for an event that is due: long enough for a busy machine, short enough to fail in words."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECONDS: Final = 15.0


@asynccontextmanager
async def awaiting(what: str, seconds: float = SECONDS) -> AsyncIterator[None]:
    """Fail with `what` in words when the block does not end in time."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s in vain for {what}") from None


async def slowly(times: int, seconds: float) -> AsyncIterator[int]:
    """Count to `times`, with a pause after each: a slow peer is slow by the clock, and only slow peers may use this."""
    for number in range(times):
        yield number
        await asyncio.sleep(seconds)


async def eventually(what: str, holds: Callable[[], bool | Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Return as soon as `holds()`; for what a process shows but does not announce (its files, a page)."""
    async with awaiting(what, seconds):
        while True:
            found = holds()
            if not isinstance(found, bool):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)
