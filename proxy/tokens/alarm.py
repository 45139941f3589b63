"""One timer that is set anew all the time: it rings at the moment that was named last.

Where the loop stood still meanwhile it rings once what has arrived was read (`proxy.patience`).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from proxy.patience import PatientTimer

if TYPE_CHECKING:
    from collections.abc import Callable

# Timers of uvloop count whole milliseconds and may fire that much early: without it a look would come too soon.
_LATE: Final = 0.001


class Alarm:
    """Calls `ring`, once for each time it was set. Belongs to one event loop."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._timer: PatientTimer | None = None

    def set(self, when: float, now: float = 0.0) -> None:
        """Ring at `when` and at no other time (both monotonic); infinite: not at all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if math.isfinite(when):
            self._timer = PatientTimer(asyncio.get_running_loop(), max(when - now, 0.0) + _LATE, self._ring)
