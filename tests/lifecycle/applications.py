"""Applications that ask without a pause while something changes, each on one stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.stage import Case


class Applications:
    """One for each case, from now on; `statuses` has a number for each request, `bodies` has each body once."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.statuses: list[int] = []
        self.bodies: set[bytes] = set()
        self._done = asyncio.Event()
        self._tasks = [asyncio.create_task(self._ask(case), name=f"application of {case.name}") for case in cases]

    async def end(self) -> None:
        """Let each one come to the end of its request, and fail where one has failed."""
        self._done.set()
        await asyncio.gather(*self._tasks)

    async def _ask(self, case: Case) -> None:
        client = await case.connect()
        while not self._done.is_set():
            answered = await client.ask(case.request())
            self.statuses.append(answered.status)
            self.bodies.add(answered.body)
            assert not answered.closes
