"""A loop whose time stands still until a test moves it, with a wall clock beside it that may step or outlast a sleep.

Nothing in here waits: what is due at a moment has happened when the call that led there returns.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")

# Beyond the resolution of the loop's clock, so that a timer of that very moment fires.
_TICK: Final = 1e-6


class FakeTime:
    """The two clocks of a machine and the loop that runs by them. Fills `proxy.clock.Clock`."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        self.now = monotonic
        self._ahead = wall - monotonic
        self._selector = _Stops()
        self.loop = _Loop(self)
        self._selector.loop = self.loop
        self._complaints: list[Mapping[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self._complaints.append(context))

    @property
    def selector(self) -> selectors.BaseSelector:
        return self._selector

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self._ahead

    def settle(self) -> None:
        """Let everything happen that happens now."""
        self.loop.run_forever()
        assert not self._complaints, self._complaints

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begin a task, and let everything happen that happens at once."""
        task = self.loop.create_task(work, name=name)
        self.settle()
        return task

    def call(self, what: Callable[..., T], *args: Any, **named: Any) -> T:
        """Return what a function returns that has to be called on the loop."""

        async def calling() -> T:
            return what(*args, **named)

        return self.run(calling())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; it may not have to wait for time."""
        task = self.start(work, "run")
        assert task.done(), "this would wait for time to pass"
        return task.result()

    def advance(self, seconds: float) -> None:
        """Let time pass in one leap, on both clocks: a loop that was busy meanwhile."""
        self.now += seconds
        self.settle()

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock: an administrator, a time server, or (forwards) a machine that was suspended."""
        self._ahead += seconds
        self.settle()

    @property
    def next_timer(self) -> float | None:
        """Seconds until the loop has something to do, None: never."""
        return self._selector.idle_for

    def to_next_timer(self) -> bool:
        """Let time pass until the loop has something to do; tell whether there was anything."""
        if self.next_timer is None:
            return False
        self.advance(self.next_timer + _TICK)
        return True

    def pass_time(self, seconds: float) -> None:
        """Let time pass as it does on an idle machine: every timer fires when it is due."""
        end = self.now + seconds
        while self.next_timer is not None and self.now + self.next_timer < end:
            self.to_next_timer()
        self.advance(max(end - self.now, 0.0))

    def close(self) -> None:
        """Close the loop; nothing may be left of what ran on it."""
        left = self.end()
        assert not left, left

    def end(self) -> list[str]:
        """End whatever still runs, and close the loop; return the names of the tasks that had not ended."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        return sorted(task.get_name() for task in left)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, fake: FakeTime) -> None:
        self._fake = fake
        super().__init__(fake.selector)

    def time(self) -> float:
        return self._fake.now


class _Stops(selectors.DefaultSelector):
    """Ends the loop's run instead of waiting."""

    loop: asyncio.AbstractEventLoop | None = None
    idle_for: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if timeout != 0 and not events and self.loop is not None:
            self.idle_for = timeout
            self.loop.stop()
        return events
