"""Requests that wait for a token: thousands may, and each is answered once."""

from __future__ import annotations

import asyncio
import math
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.tokens.unavailable import Unavailable

T = TypeVar("T")
# Whoever is answered sends a request at once: so many take some ten milliseconds, and then it is others' turn.
_AT_ONCE: Final = 128


class Waiters:
    """Those who wait for one connection's token, each until its deadline (monotonic).

    As all wait equally long, the oldest stands first. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Future[AccessToken | Unavailable], float] = {}
        self._next: asyncio.Handle | None = None

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._deadlines)

    @property
    def deadline(self) -> float:
        """When the patience of the oldest ends; infinite where nobody waits."""
        return next(iter(self._deadlines.values()), math.inf)

    def join(self, deadline: float) -> asyncio.Future[AccessToken | Unavailable]:
        """Wait, until then at most: whoever does so leaves afterwards."""
        future: asyncio.Future[AccessToken | Unavailable] = asyncio.get_running_loop().create_future()
        self._deadlines[future] = deadline
        return future

    def leave(self, future: asyncio.Future[AccessToken | Unavailable]) -> None:
        """Wait no longer."""
        self._deadlines.pop(future, None)

    def serve(self, token: AccessToken, again: Callable[[], object]) -> None:
        """Give it to as many as one turn of the loop bears; where some are left, call `again` in the next turn."""
        if self._next is not None:
            return
        for future in list(islice(self._deadlines, _AT_ONCE)):
            del self._deadlines[future]
            settle(future, token)
        if self._deadlines:
            self._next = asyncio.get_running_loop().call_soon(self._go_on, again)

    def _go_on(self, again: Callable[[], object]) -> None:
        self._next = None
        again()

    def answer(self, outcome: Unavailable) -> None:
        """Give all of them the same."""
        waiting, self._deadlines = self._deadlines, {}
        for future in waiting:
            settle(future, outcome)

    def give_up(self, now: float, hope: float, why: Callable[[], Unavailable]) -> None:
        """Tell those `why` whose patience has ended, or ends before the next attempt, of which there is `hope`."""
        reason = None
        for future, deadline in list(self._deadlines.items()):
            if now < deadline and hope <= deadline:
                break
            reason = reason or why()
            del self._deadlines[future]
            settle(future, reason)

    async def gone(self) -> None:
        """Wait until nobody waits any more."""
        while self._deadlines:
            await asyncio.wait(list(self._deadlines))


def settle(future: asyncio.Future[T], outcome: T) -> None:
    """Answer one who waits, if he still does."""
    if not future.done():
        future.set_result(outcome)
