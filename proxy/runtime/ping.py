"""A connection tried out: its `ping` goes through the very exchange of the data path, with nobody behind it."""

from __future__ import annotations

import asyncio
import re
from time import perf_counter
from typing import TYPE_CHECKING, Final

from proxy.admin.ports import TestResult
from proxy.exchange.flow import Exchange
from proxy.problem import PROBLEMS, PROXY_NAME
from proxy.wire.heads import parse_request
from proxy.wire.request import HeadLimits

if TYPE_CHECKING:
    from proxy.exchange.stream import TunnelEnd
    from proxy.exchange.surroundings import Surroundings
    from proxy.runtime.parts import Part

# Whoever pressed the button waits for it; `iclient-proxy ping` gives up after 30 s.
_SECONDS: Final = 25.0
# The status is all that is asked for: of a long body no more than a piece is read.
_BODY_MAX: Final = 256 * 1024
_LIMITS: Final = HeadLimits(64 * 1024, 16 * 1024, 128, 16 * 1024)
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
# The words of an own answer; an upstream that says the same is another proxy like this one.
_OWN: Final = re.compile(rb'\r\nProxy-Status: %b; error=\w+; details="(\w+)"' % PROXY_NAME.encode())


async def ping(part: Part, surroundings: Surroundings) -> TestResult:
    """Send the connection's `ping` once, with its token; the exchange is counted and logged like any other."""
    connection = part.connection
    prefix = connection.route.prefix.encode()[: part.plan.strip] if connection.route is not None else b""
    raw = b"%b %b HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n" % (
        connection.ping.method.encode(),
        prefix + connection.ping.path.encode(),
    )
    head = parse_request(raw, _LIMITS)
    if head is None:
        raise AssertionError("a whole head was parsed")
    caller = _Caller(surroundings)
    began = perf_counter()
    exchange = Exchange(surroundings, caller, part.plan, head, strip_authorization=False)
    caller.exchange = exchange
    exchange.start(b"", done=True)
    try:
        async with asyncio.timeout(_SECONDS):
            await caller.over.wait()
    except TimeoutError:
        exchange.client_left()
    return _result(bytes(caller.head), connection.ping.status, (perf_counter() - began) * 1000)


class _Caller:
    """Fills the exchange's port `Client`: takes the head of the response and leaves at the end, or when it is long."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._loop = surroundings.loop
        self.over = asyncio.Event()
        self.head = bytearray()
        self.exchange: Exchange | None = None
        self._size = 0

    def send(self, data: bytes) -> None:
        """Keep the head; what follows is only counted."""
        if _STATUS.match(data) and _status(bytes(self.head)) < 200:  # a final head comes after those of 1xx responses
            self.head[:] = data[: data.find(b"\r\n\r\n") + 4]
        self._size += len(data)
        if self._size > _BODY_MAX and not self.over.is_set():
            self.over.set()
            # Not within the exchange's own call.
            self._loop.call_soon(self._leave)

    def finish(self, *, reuse: bool) -> None:
        """The response is whole."""
        self.over.set()

    def abort(self) -> None:
        """The response is cut; its head came."""
        self.over.set()

    def hold(self, *, on: bool) -> None:
        """There is nothing more to read from us."""

    def tunnel(self, tunnel: TunnelEnd) -> bytes:
        """Never called: a ping asks for no upgrade."""
        return b""

    def end_tunnel(self) -> None:
        """Never called, as above."""

    def _leave(self) -> None:
        if self.exchange is not None:
            self.exchange.client_left()


def _status(head: bytes) -> int:
    found = _STATUS.match(head)
    return int(found[1]) if found is not None else 0


def _result(head: bytes, wanted: tuple[tuple[int, int], ...], milliseconds: float) -> TestResult:
    own = _OWN.search(head)
    problem = PROBLEMS.get(own[1].decode()) if own is not None else None
    if problem is not None:
        return TestResult(None, good=False, detail=f"{problem.title} ({problem.code}).", ms=milliseconds)
    status = _status(head)
    if status < 200:
        return TestResult(None, good=False, detail=f"Nothing came within {_SECONDS:.0f} s.", ms=milliseconds)
    if any(first <= status <= last for first, last in wanted):
        return TestResult(status, good=True, detail="", ms=milliseconds)
    ranges = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in wanted)
    return TestResult(status, good=False, detail=f"Good are {ranges} (ping.status).", ms=milliseconds)
