"""Good requests at a steady pace beside something bad: whether they fail, and how long they take."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import until
from tests.support.scripts import OK_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stage import Case

_STREAMS: Final = 10


@dataclass
class Pace:
    """What became of the requests; `seconds` are those of each that succeeded."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def sent(self) -> int:
        return len(self.seconds) + self.failed

    def quantile(self, part: float) -> float:
        """Return that quantile of the times, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


@asynccontextmanager
async def good_traffic(case: Case, per_second: float = 100.0) -> AsyncIterator[Pace]:
    """Send as many good requests a second on ten streams for as long as the block takes."""
    pace, stop = Pace(), asyncio.Event()
    tasks = [asyncio.create_task(_ask(case, pace, stop, number, per_second)) for number in range(_STREAMS)]
    try:
        yield pace
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _ask(case: Case, pace: Pace, stop: asyncio.Event, number: int, per_second: float) -> None:
    loop = asyncio.get_running_loop()
    client = await case.connect()
    interval = _STREAMS / per_second
    due = loop.time() + interval * number / _STREAMS
    raw = case.request(target=b"/good")
    while not stop.is_set():
        await until(due)
        began = loop.time()
        try:
            await client.send(raw)
            await client.read_until(OK_BODY)
        except (AssertionError, ConnectionError):
            pace.failed += 1
            client = await case.connect()
        else:
            pace.seconds.append(loop.time() - began)
        due = max(due + interval, loop.time())  # what was late is not made up for by a burst
