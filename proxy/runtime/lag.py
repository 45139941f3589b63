"""How late the event loop is: what stands still here stands still for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from proxy.wire.sweep import INTERVAL

if TYPE_CHECKING:
    from proxy.exchange.record import ProcessCounters

# A stall begins somewhere between two sweeps: one of a second makes the next sweep late by this at least.
_STALL: Final = 1.0 - INTERVAL


class LagWatch:
    """Counts what the sweep tells it, and says so when the loop stood still for a second."""

    def __init__(self, counters: ProcessCounters) -> None:
        self._counters = counters
        self._log = structlog.get_logger()

    def late(self, seconds: float) -> None:
        """A sweep came so much too late."""
        self._counters.loop_lag.observe(seconds)
        if seconds >= _STALL:
            self._counters.loop_stalls += 1
            self._log.warning(
                "loop_stalled", seconds=round(seconds, 3),
                why="the process was stopped, had no CPU, or did one thing for too long",
            )  # fmt: skip
