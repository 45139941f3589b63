"""How many streams each worker has, in memory that all of them see, so that none takes more than its part.

All accept from the same sockets, and the kernel wakes all of them: without this whoever is quickest gets everything
while there is little to do, an application's whole pool of streams, and serves it alone when there is much.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

# Of a worker that accepts nothing: nobody waits for it.
_AWAY: Final = (1 << 32) - 1
_SIZE: Final = struct.calcsize("I")


class Board:
    """A number for each of `size` workers, in memory that is the file `file`, which may be closed afterwards."""

    def __init__(self, file: int, size: int) -> None:
        self._memory = mmap.mmap(file, size * _SIZE)
        self._streams = memoryview(self._memory).cast("I")

    def tell(self, number: int, streams: int) -> None:
        """The worker `number`, from 1 on, has so many streams."""
        self._streams[number - 1] = min(streams, _AWAY - 1)

    def leave(self, number: int) -> None:
        """That worker takes no streams, for whatever reason."""
        self._streams[number - 1] = _AWAY

    def least(self, number: int) -> int:
        """Return the fewest streams that a worker other than this one has."""
        others = [streams for at, streams in enumerate(self._streams) if at != number - 1]
        return min(others, default=_AWAY)


def length(size: int) -> int:
    """Return the bytes of a board for so many workers."""
    return size * _SIZE


def is_ahead(streams: int, least: int) -> bool:
    """Tell whether a worker with so many streams leaves the next one to whoever has the least. Pure.

    A few more are none: to wait for each other costs more than that (an eighth, as nginx reckons).
    """
    return streams > least + 1 + least // 8
