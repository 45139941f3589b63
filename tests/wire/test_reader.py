"""How much a stream may read before others have their turn, on the loop that the product runs on."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

import uvloop

from proxy.problem import PROBLEMS
from proxy.wire.framing import ChunkedBody
from proxy.wire.reader import READ_MAX, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

PIECES = 4
CHUNK = b"1\r\nx\r\n"


class Scanned(Reader):
    """Scans what comes for the ends of chunks, as a stream with a chunked body does; `held`: it wants no more."""

    def __init__(self, order: list[str], all_here: asyncio.Event) -> None:
        self.order = order
        self.all_here = all_here
        self.body = ChunkedBody(PROBLEMS["bad_request"])
        self.held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def reading(self) -> asyncio.Transport | None:
        return None if self.held else self.transport

    def hold(self, *, on: bool) -> None:
        self.held = on
        if on:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.body.feed(data)
        self.order.append("chunks")
        if self.order.count("chunks") == PIECES:
            self.all_here.set()


class Small(Reader):
    """Takes note that something came, and calls `then`."""

    def __init__(self, order: list[str], then: Callable[[], None]) -> None:
        self.order = order
        self.then = then

    def data_received(self, data: bytes) -> None:
        self.order.append("other")
        self.then()


def run(*, holds: bool = False) -> list[str]:
    """Let two streams be ready at once, one with four pieces of chunks; return in which order they had their turns.

    `holds`: when the other one has its turn, the one with the chunks is held for a while.
    """

    async def both() -> list[str]:
        loop = asyncio.get_running_loop()
        order: list[str] = []
        all_here, has_come = asyncio.Event(), asyncio.Event()
        scanned = Scanned(order, all_here)

        def other_has_come() -> None:
            if holds:
                scanned.hold(on=True)
            has_come.set()

        large, far = socket.socketpair()
        small, beside = socket.socketpair()
        content = CHUNK * (PIECES * READ_MAX // len(CHUNK))
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(content))
        streams = [
            (await loop.create_connection(lambda: scanned, sock=large))[0],
            (await loop.create_connection(lambda: Small(order, other_has_come), sock=small))[0],
        ]
        assert far.send(content, socket.MSG_DONTWAIT) == len(content)
        beside.send(b"?")
        async with asyncio.timeout(15):
            if holds:
                await has_come.wait()
                seen = list(order)
                for _ in range(100):
                    await asyncio.sleep(0)
                assert order == seen
                scanned.hold(on=False)
            await all_here.wait()
        for each in streams:
            each.abort()
        for each in (far, beside):
            each.close()
        return order

    return uvloop.run(both())


def test_a_stream_whose_pieces_take_long_lets_another_one_have_its_turn_in_between():
    assert run() == ["chunks", "other", "chunks", "chunks", "chunks"]


def test_a_stream_that_wants_no_more_is_not_read_on_because_it_had_given_way():
    assert run(holds=True) == ["chunks", "other", "chunks", "chunks", "chunks"]
