"""The pool of one connection, and another one where its token answer names another origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exchange.aim import Origin
    from proxy.outbound.pool import Pool


class OriginPools:
    """Fills the exchange's port `Origins`. `make` makes a pool; there is one at a time, beside those that are retired.

    A retired pool serves what it was asked for and is gone then, so a token answer that names another origin each time
    leaves nothing behind.
    """

    __slots__ = ("_make", "_origin", "_pool", "_retired")

    def __init__(self, make: Callable[[Origin], Pool]) -> None:
        self._make = make
        self._origin: Origin | None = None
        self._pool: Pool | None = None
        self._retired = False

    def to(self, origin: Origin) -> Pool:
        """Return the pool to `origin`; one to another origin is retired."""
        if self._pool is not None:
            if origin == self._origin:
                return self._pool
            self._pool.retire()
        pool = self._pool = self._make(origin)
        self._origin = origin
        if self._retired:
            pool.retire()
        return pool

    def retire(self) -> None:
        """The connection is no more: what is under way is still served."""
        self._retired = True
        if self._pool is not None:
            self._pool.retire()

    async def close(self) -> None:
        """Close what rests and stop dialling."""
        if self._pool is not None:
            await self._pool.close()
