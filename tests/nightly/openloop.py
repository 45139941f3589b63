"""A crowd that asks at a steady rate, whatever comes back: who waits for answers would hide every stall.

One stream carries one request at a time; those at rest are taken in turn, so that each is used often. Latency counts
from the moment at which a request was due.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import until

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_PATIENCE: Final = 30.0  # seconds for the last answers
_REMEMBERED: Final = 20  # failures that are told word for word


@dataclass(frozen=True)
class Failure:
    """What became of a request that got no good answer; `at` is the loop's time."""

    number: int
    at: float
    why: str


class _Stream(asyncio.Protocol):
    """One stream of the crowd."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self.number = -1
        self.due = 0.0
        self.is_fresh = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, number: int, due: float) -> None:
        self.number, self.due, self._received = number, due, b""
        self.transport.write(self._load.request(number))

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = received[:end]
        length = _LENGTH.search(head)
        if self.number < 0 or length is None:
            self.transport.abort()
        elif len(received) >= end + 4 + int(length[1]):
            number, self.number, self.is_fresh = self.number, -1, False
            self._load.answered(self, number, int(head[9:12]), received[end + 4 :], closes=bool(_CLOSES.search(head)))

    def connection_lost(self, error: Exception | None) -> None:
        number, self.number = self.number, -1
        self._load.lost(self, number, self._received, was_reset=error is not None)


class Load:
    """Asks `rate` times a second at the addresses in turn, from `begin` until `end`; `request` makes the bytes.

    `good` says whether a status and body are those that were due. `resends`: a request whose used stream ended before
    any byte of an answer is sent once more, as clients do (RFC 9112 §9.3.1).
    """

    def __init__(
        self,
        addresses: list[tuple[str, int]],
        rate: float,
        request: Callable[[int], bytes],
        good: Callable[[int, bytes], bool],
        *,
        streams: int = 200,
        resends: bool = False,
    ) -> None:
        self.rate = rate
        self.request = request
        self.sent = 0
        self.served = 0
        self.resent = 0
        self.failed = 0
        self.failures: list[Failure] = []
        self.seconds = array("d")
        self.due_at = array("d")  # of each of `seconds`, by the loop's time
        self._addresses = addresses
        self._good = good
        self._limit = streams
        self._resends = resends
        self._idle: deque[_Stream] = deque()
        self._open: set[_Stream] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[int, float]] = deque()
        self._again: set[int] = set()
        self._dialled = 0
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run(), name="load")

    async def end(self) -> None:
        """Ask no more, and wait for the last answers."""
        self._over.set()
        if self._task is not None:
            await self._task
        loop = asyncio.get_running_loop()
        patience = loop.time() + _PATIENCE
        while self.sent > self.served + self.failed and loop.time() < patience:
            await until(loop.time() + 0.01)
        for number, _ in list(self._waiting):
            self._fail(number, "no stream")
        for stream in list(self._open):
            if stream.number >= 0:
                self._fail(stream.number, "no answer")
                stream.number = -1
            stream.transport.abort()
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)

    def quantile(self, part: float, since: float = 0.0, to: float = float("inf")) -> float:
        """Return the milliseconds within which that part of the requests was served that were due between two times."""
        seconds = sorted(each for due, each in zip(self.due_at, self.seconds, strict=True) if since <= due < to)
        return 1000 * seconds[min(len(seconds) - 1, int(part * len(seconds)))] if seconds else 0.0

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        number = 0
        while not self._over.is_set():
            due = began + number / self.rate
            if due > loop.time():
                await until(due)
            self.sent += 1
            self._ask(number, due)
            number += 1

    def _ask(self, number: int, due: float) -> None:
        if self._idle:
            self._idle.popleft().ask(number, due)
            return
        self._waiting.append((number, due))
        if len(self._open) + len(self._dialling) < self._limit:
            task = asyncio.create_task(self._dial(), name="a stream of the load")
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    async def _dial(self) -> None:
        address = self._addresses[self._dialled % len(self._addresses)]
        self._dialled += 1
        try:
            _, stream = await asyncio.get_running_loop().create_connection(lambda: _Stream(self), *address)
        except OSError as error:
            if self._waiting:
                self._fail(self._waiting.popleft()[0], f"{type(error).__name__} at {address}")
            return
        self._open.add(stream)
        self._rests(stream)

    def _rests(self, stream: _Stream) -> None:
        if self._waiting:
            stream.ask(*self._waiting.popleft())
        else:
            self._idle.append(stream)

    # What the streams tell

    def answered(self, stream: _Stream, number: int, status: int, body: bytes, *, closes: bool) -> None:
        """One answer has come."""
        self._again.discard(number)
        if self._good(status, body):
            self.served += 1
            self.seconds.append(asyncio.get_running_loop().time() - stream.due)
            self.due_at.append(stream.due)
        else:
            self._fail(number, f"{status} {body[:300]!r}")
        if closes:
            self._open.discard(stream)
            stream.transport.close()
        else:
            self._rests(stream)

    def lost(self, stream: _Stream, number: int, received: bytes, *, was_reset: bool) -> None:
        """The stream has ended, under the request `number` or at rest."""
        self._open.discard(stream)
        with suppress(ValueError):
            self._idle.remove(stream)
        if number < 0:
            return
        if self._resends and not stream.is_fresh and not received and number not in self._again:
            self._again.add(number)
            self.resent += 1
            self._ask(number, stream.due)
        else:
            self._fail(number, f"the stream was {'reset' if was_reset else 'closed'} after {received[:300]!r}")

    def _fail(self, number: int, why: str) -> None:
        self.failed += 1
        if len(self.failures) < _REMEMBERED:
            self.failures.append(Failure(number, asyncio.get_running_loop().time(), why))
