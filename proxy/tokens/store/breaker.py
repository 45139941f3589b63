"""Whether a server may be asked now: after five failures in a row only a probe may. Pure."""

from __future__ import annotations

from typing import Final

# In a row. A server that is away is known by then, one hiccup is not taken for an outage.
FAILURES: Final = 5


class Breaker:
    """`available` is None before the first answer. A read that succeeds does not make up for a write that failed."""

    __slots__ = ("_failures", "_writes", "available")

    def __init__(self) -> None:
        self.available: bool | None = None
        self._failures = 0
        self._writes = False  # a write is among the failures

    @property
    def is_open(self) -> bool:
        """Nothing but a probe may pass."""
        return self._failures >= FAILURES

    def worked(self, *, write: bool) -> bool:
        """Note a success; return whether the server is available since now."""
        if self._writes and not write:
            return False
        self._failures, self._writes = 0, False
        changed = self.available is not True
        self.available = True
        return changed

    def failed(self, *, write: bool) -> bool:
        """Note a failure; return whether the server is unavailable since now."""
        self._failures += 1
        self._writes |= write
        changed = self.available is not False
        self.available = False
        return changed
