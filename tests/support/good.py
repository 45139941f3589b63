"""Good requests beside an attack: what became of them, and how long they took."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.client import Client
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def played(
    folder: Path,
    *within: str,
    others: dict[str, Any] | None = None,
    addresses: dict[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Case]:
    """Start the product with one connection that serves, and perhaps others."""
    async with AsyncExitStack() as after:
        stage = Stage({"c0": {}, **(others or {})}, {"log": {"access": False}, **settings}, addresses)
        stage.within = within
        await stage.start(folder)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        yield case


class Good:
    """What became of good requests: seconds each, and their statuses; `lost` had no response."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.lost = 0

    @property
    def failed(self) -> int:
        return self.lost + sum(count for status, count in self.statuses.items() if status != 200)

    def words(self) -> str:
        """Return what became of them."""
        return f"{self.failed} of {len(self.seconds) + self.lost} failed, p99 {self.p99():.1f} ms"

    def p99(self) -> float:
        """Return milliseconds."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100] * 1000 if self.seconds else 0.0

    async def ask(self, client: Client, request: bytes) -> int:
        """Send one request and note what comes of it."""
        begun = time.perf_counter()
        try:
            answered = await client.ask(request)
        except (AssertionError, ConnectionError):
            self.lost += 1
            return 0
        self.seconds.append(time.perf_counter() - begun)
        self.statuses[answered.status] += 1
        return answered.status

    async def ask_often(self, address: tuple[str, int], request: bytes, times: int, *, pause: float = 0.0) -> None:
        """Send so many requests on one stream."""
        try:
            client = await Client.connect(address)
        except ConnectionError:
            self.lost += times
            return
        for _ in range(times):
            await self.ask(client, request)
            if pause:
                await asyncio.sleep(pause)
        await client.close()
