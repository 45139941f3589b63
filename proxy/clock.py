"""Where time comes from: a monotonic reading for durations, the wall for what leaves the process."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of now, both in seconds."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; may step."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    # The function itself: it is asked on every request, and a method around it costs as much again.
    wall = staticmethod(time.time)
