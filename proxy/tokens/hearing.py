"""Looks at the store when there may be something new in it; one look at a time, and nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.tokens.stored import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tokens.issuer import Issuer
    from proxy.tokens.journal import Journal
    from proxy.tokens.renewal import Renewal


class Hearing:
    """Has `learn` called after each look, with the token that another replica has brought, None where there is none."""

    def __init__(
        self, connection: str, issuer: Issuer, journal: Journal, learn: Callable[[Renewal | None], None]
    ) -> None:
        self._connection = connection
        self._issuer = issuer
        self._journal = journal
        self._learn = learn
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def heard(self) -> None:
        """Look; once more, if that is going on already."""
        self._again = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look(), name=f"look:{self._connection}")

    async def close(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look(self) -> None:
        try:
            while self._again:
                self._again = False
                self._learn(await self._issuer.look())
        except StoreUnavailable:
            pass  # whoever says that there is something new says it again when the store is back
        except Exception as error:  # noqa: BLE001 a mistake of ours must not end the task without a word
            self._journal.broken(error)
        finally:
            self._task = None
