"""A store that forgets with the process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from proxy.tokens.stored import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class MemoryStore:
    """Holds what is kept of one connection."""

    __slots__ = ("_stored", "on_failure", "shared")

    def __init__(self) -> None:
        self.shared = False
        self.on_failure: Literal["hold", "refresh"] = "refresh"
        self._stored = Stored()

    async def load(self) -> Stored:
        """Return what is kept."""
        return self._stored

    async def save(self, stored: Stored) -> bool:
        """Keep this, if it is newer than what there is."""
        if stored.version <= self._stored.version:
            return False
        self._stored = stored
        return True

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let the only process there is renew at once."""
        yield
