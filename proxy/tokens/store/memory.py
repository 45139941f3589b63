"""A store that forgets with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.oauth.grant import Grant


class MemoryStore:
    """Holds the grant of one connection."""

    __slots__ = ("_grant",)

    def __init__(self) -> None:
        self._grant: Grant | None = None

    async def load(self) -> Grant | None:
        """Return the grant, None when there is none."""
        return self._grant

    async def save(self, grant: Grant | None) -> None:
        """Keep this one from now on; None: the grant is lost."""
        self._grant = grant
