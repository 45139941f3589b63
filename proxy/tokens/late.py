"""What came too late to be used is given back, by tasks that nobody waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.oauth.grant import Grant
from proxy.oauth.response import Issued

if TYPE_CHECKING:
    from proxy.tokens.issuer import Issuer
    from proxy.tokens.journal import Journal
    from proxy.tokens.renewal import Renewal


class Late:
    """Gives back the tokens of renewals that ended too late."""

    def __init__(self, connection: str, issuer: Issuer, journal: Journal) -> None:
        self._connection = connection
        self._issuer = issuer
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()

    def drop(self, renewal: Renewal) -> None:
        """Give back what a renewal brought; what another replica has brought is not ours to give back."""
        if isinstance(renewal.result, Issued) and not renewal.adopted:
            late = Grant(renewal.result.refresh_token, renewal.result.access_token, renewal.held.fields)
            task = asyncio.get_running_loop().create_task(self._give_back(late), name=f"late:{self._connection}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all is given back."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Wait for nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _give_back(self, grant: Grant) -> None:
        try:
            codes = await self._issuer.give_back(grant)
        except Exception as error:  # noqa: BLE001 a mistake of ours must not end the task without a word
            self._journal.broken(error)
        else:
            self._journal.dropped(codes)
