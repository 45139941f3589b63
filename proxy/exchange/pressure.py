"""How full the memory of the process is: the marks, and when one is passed or left. Pure.

Nearly full: each response ends its stream, and no body is kept for a second attempt, so that what the process holds
becomes less. Full: nothing new begins. What is under way ends as usual in either case.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# Of the limit, as Envoy's overload manager has them. What is left above the upper one is for what is under way.
NEARLY: Final = 0.85
FULL: Final = 0.95
# So much less it has to be before the mark counts as left: an answer more or less is not a change of state.
SLACK: Final = 0.05
# What an exchange comes to whose client does not read: one read of the loop, that it writes and can't get rid of.
STREAM_MAX: Final = 256 * 1024


class Pressure(IntEnum):
    """How full the memory is; its value is that of the metric `memory_pressure`."""

    NONE = 0
    NEARLY = 1
    FULL = 2


def pressure_after(before: Pressure, used: int, limit: int, *, young: int = 0) -> Pressure:
    """Return how full it is when `used` bytes of `limit` are in use and it was `before`.

    `young` exchanges have just begun: where memory is short each of them counts with what it may still come to.
    """
    if used >= limit * NEARLY:
        used += young * STREAM_MAX
    for level, mark in ((Pressure.FULL, FULL), (Pressure.NEARLY, NEARLY)):
        if used >= limit * (mark - SLACK if before >= level else mark):
            return level
    return Pressure.NONE
