"""A store that forgets with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.secret import Secret


class MemoryStore:
    """Holds the refresh token of one connection."""

    __slots__ = ("_refresh_token",)

    def __init__(self) -> None:
        self._refresh_token: Secret | None = None

    async def load(self) -> Secret | None:
        """Return the refresh token, None when there is none."""
        return self._refresh_token

    async def save(self, refresh_token: Secret | None) -> None:
        """Keep this one from now on; None: the grant is lost."""
        self._refresh_token = refresh_token
