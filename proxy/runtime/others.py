"""The other processes of a proxy, whom it tells what it does: with `workers: 1` there are none, and nothing is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.observe.collectors import Gathered
    from proxy.runtime.parts import Assembly


class Others:
    """No others: `workers.supervisor` has the ones of `workers: N`."""

    # Adds what others have counted to what this process has; None: that is all.
    gather: Callable[[Gathered], Awaitable[Gathered]] | None = None

    @property
    def ready(self) -> bool:
        """Whether all are there and serve."""
        return True

    @property
    def has_served(self) -> bool:
        """Whether applications may know of the proxy, beside what this process has accepted."""
        return False

    @property
    def open_streams(self) -> int:
        """The streams that others have open."""
        return 0

    def guard(self, own: frozenset[tuple[str, int]]) -> None:
        """Let nothing be dialled at these addresses, which are our own."""

    async def start(self, assembly: Assembly) -> None:
        """Serve by these parts; the sockets are bound."""

    async def agree(self, assembly: Assembly) -> tuple[str, ...]:
        """Get ready to serve by these parts instead; return reasons against it. `commit` or `abandon` follows."""
        return ()

    def commit(self, assembly: Assembly) -> None:
        """Serve by these parts from now on."""

    async def applied(self) -> None:
        """Wait until all serve by what was committed."""

    def abandon(self) -> None:
        """Go on as before."""

    def drain(self) -> None:
        """The proxy is about to end: each response is the last one of its stream."""

    def leave(self) -> None:
        """Accept no more, close what has no request under way."""

    async def cut(self) -> int:
        """Cut all streams; return how many there were."""
        return 0

    async def close(self) -> None:
        """End all others."""
