"""Retries of all connections in one line: a dead authorization server, or a thousand of them, get a trickle.

Only what follows a failure waits here. First attempts, renewals ahead of time of what works, and what an operator asks
for begin at once: a bad day of others costs them nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

from proxy.tokens.pace import RETRY_GAP
from proxy.tokens.states import BackingOff, Braked, Flying

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tokens.states import Life


class Retries:
    """Lets one retry begin every `gap` seconds. Belongs to one event loop; `monotonic` tells the time.

    Who has failed less often goes first: one hiccup does not wait behind a thousand servers that are gone for good.
    """

    def __init__(self, monotonic: Callable[[], float], gap: float = RETRY_GAP) -> None:
        self._monotonic = monotonic
        self._gap = gap
        self._free_at = monotonic()
        self._line: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def turn_of(self, life: Life) -> asyncio.Future[None] | None:
        """Return what the renewal that begins now has to wait for; None where it does not follow a failure."""
        match life.errand:
            case Flying(after=BackingOff(failures=failures) | Braked(failures=failures)):
                return self.turn(failures)
            case _:
                return None

    def turn(self, failures: int) -> asyncio.Future[None]:
        """Return a future that is done when a retry after so many failures in a row may begin.

        Who needs it no longer cancels it, and who can't wait sets its result: neither takes anybody's turn.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (failures, next(self._numbers), future))
        if self._timer is None:
            self._advance()
        return future

    def _advance(self) -> None:
        self._timer = None
        while self._line and self._line[0][2].done():
            heapq.heappop(self._line)
        if not self._line:
            return
        now = self._monotonic()
        if now >= self._free_at:
            heapq.heappop(self._line)[2].set_result(None)
            self._free_at = now + self._gap
        if self._line:
            self._timer = asyncio.get_running_loop().call_later(self._free_at - now, self._advance)
