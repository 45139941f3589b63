"""One at a time, and once more for whoever asks meanwhile: a storm of requests to reload becomes a few reloads."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Turns(Generic[T]):
    """Runs `once`, which must not raise, for all who asked before it began.

    A turn begins at least `pause` seconds after the one before. `name` is that of the task.
    """

    def __init__(self, once: Callable[[], Awaitable[T]], name: str, pause: float) -> None:
        self._once = once
        self._name = name
        self._pause = pause
        self._next: asyncio.Future[T] | None = None
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> asyncio.Future[T]:
        """Return the outcome of the next turn; all who ask before it begins share it, and each may leave."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name=self._name)
        return asyncio.shield(self._next)

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way, or the pause after it."""
        return self._task is not None

    async def close(self) -> None:
        """End the turn under way; there are no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._next is not None:
            self._next.cancel()

    async def _run(self) -> None:
        while self._next is not None:
            asked, self._next = self._next, None
            rest = asyncio.create_task(asyncio.sleep(self._pause), name=f"{self._name}: pause")
            try:
                outcome = await self._once()
                asked.set_result(outcome)
                await rest
            finally:
                rest.cancel()
                asked.cancel()  # does nothing when it is done
        self._task = None
