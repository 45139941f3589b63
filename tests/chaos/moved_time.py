"""An event loop whose time is moved: where nothing but a timer is left to wait for, it is that time at once.

Sockets are real. While one is open that was not there at the beginning, the loop gives the kernel a moment before it
moves on, so that bytes under way arrive at the time at which they were sent.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

EPOCH: Final = 1_800_000_000.0  # where the wall clock of a moved loop begins
# Loopback hands bytes on within microseconds; a busy machine may need longer to run the kernel's part.
_MOMENT: Final = 0.000_5


class _Selector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]  # its name depends on the platform
    """Waits for no timer: it adds what it should have waited to `moved`."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0.0
        self.at_rest = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            return super().select(None)  # type: ignore[no-any-return]
        if len(self.get_map()) > self.at_rest:
            found = super().select(_MOMENT)
        if not found:
            self.moved += timeout
        return found


class MovedLoop(asyncio.SelectorEventLoop):
    """The loop, and a `Clock` of the product: both of its clocks go with the loop's own time."""

    def __init__(self) -> None:
        self._moving = _Selector()
        super().__init__(self._moving)

    def time(self) -> float:
        return self._moving.moved

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self.time()

    def wall(self) -> float:
        """Seconds since the epoch, as the loop's time would have it."""
        return EPOCH + self.time()

    def settled(self) -> None:
        """Take the sockets that are open now for those that stay."""
        self._moving.at_rest = len(self._moving.get_map())


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to its end, on a loop of its own, what asks `asyncio.get_running_loop()` for a `MovedLoop`."""
    with asyncio.Runner(loop_factory=MovedLoop) as runner:
        return runner.run(work)
