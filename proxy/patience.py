"""Time-outs that look at what has arrived before they give up.

The loop runs timers before it reads sockets. After it stood still (a machine without a free CPU, a stopped process) the
answer that was waited for may lie there unread while the time for it is over.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# Seconds. A timer that comes later than this was held up, and so was everything else.
_HELD_UP: Final = 0.005
# Then it waits so long for the loop to read and to act on what it read, and again while the loop is still busy with
# that, but no longer than a second in all.
LAST_LOOK: Final = 0.02
_MOST: Final = 1.0
# A process that gets little of a processor may spend all that time in one turn of the loop. So many turns lie between
# a stream that is readable and what its answer changes: it is read, decrypted, put together, and a task goes on.
_TURNS: Final = 8


class PatientTimer:
    """Calls `over` after so many seconds; where the loop stood still, once it has caught up. Belongs to `loop`."""

    __slots__ = ("_due", "_ends", "_handle", "_loop", "_over", "_turns")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, over: Callable[[], object]) -> None:
        self._loop = loop
        self._over = over
        self._due = loop.time() + seconds
        self._ends = math.inf
        self._turns = _TURNS
        self._handle: asyncio.Handle = loop.call_later(seconds, self._look)

    def cancel(self) -> None:
        """Do not call."""
        self._handle.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        late = now - self._due > _HELD_UP
        if late and now < self._ends:
            self._ends = min(self._ends, now + _MOST)
            self._due = now + LAST_LOOK
            self._handle = self._loop.call_later(LAST_LOOK, self._look)
        elif math.isinf(self._ends):
            self._over()
        else:
            self._turn()

    def _turn(self) -> None:
        self._turns -= 1
        if self._turns:
            self._handle = self._loop.call_soon(self._turn)
        else:
            self._over()


class Patience:
    """`async with Patience(seconds):` is `asyncio.timeout(seconds)` with a last look; infinite: for ever."""

    __slots__ = ("_ends", "_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._timer: PatientTimer | None = None
        self._ends = math.inf

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        if math.isfinite(self._seconds):
            loop = asyncio.get_running_loop()
            seconds = max(self._seconds, 0.0)
            self._ends = loop.time() + seconds
            self._timer = PatientTimer(loop, seconds, self._over)
        return self

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._ends - asyncio.get_running_loop().time()

    def lift(self) -> None:
        """Wait for ever from now on: somebody else looks at the time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timeout.reschedule(None)

    def _over(self) -> None:
        self._timeout.reschedule(0.0)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)
