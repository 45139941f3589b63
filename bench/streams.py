"""Streams that do nothing: many idle ones between requests, and some whose reader stands still within an answer."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from bench.load import ask, head, read_answer

if TYPE_CHECKING:
    from bench.load import Entry
    from bench.peers import Started

STALLED: Final = 100
_WARM: Final = 50  # requests before the first look, so that what is made once is made
_SETTLE: Final = 5.0  # seconds at most for memory to stop growing
_LOOK: Final = 0.1
_SMALL_WINDOW: Final = 4096  # bytes a stalled reader's kernel takes in, so that the rest stays with the proxy


def idle(peer: Started, count: int) -> float:
    """Return the bytes of resident memory per keep-alive stream, each of which has had one answer."""
    before = _warm(peer)
    with ExitStack() as opened:
        for number in range(count):
            stream = opened.enter_context(socket.create_connection(("127.0.0.1", peer.plain.port)))
            stream.sendall(head(peer.plain.port, _place(peer.plain, "small"), number))
            reply = read_answer(stream)
            if reply.status != 200:
                raise ValueError(f"idle stream {number} got {reply.status}")
        return (_settled(peer) - before) / count


def stalled(peer: Started, count: int = STALLED) -> float:
    """Return the bytes of resident memory per stream whose reader stands still within an answer of 16 MiB."""
    before = _warm(peer)
    with ExitStack() as opened:
        for number in range(count):
            stream = opened.enter_context(socket.socket())
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
            stream.connect(("127.0.0.1", peer.plain.port))
            stream.sendall(head(peer.plain.port, _place(peer.plain, "stall"), number))
        return (_settled(peer) - before) / count


def _warm(peer: Started) -> int:
    for _ in range(_WARM):
        ask(peer.plain.port, _place(peer.plain, "small"))
    return _settled(peer)


def _place(entry: Entry, size: str) -> str:
    return f"{entry.prefix}/{size}"


def _settled(peer: Started) -> int:
    """Wait until resident memory stays the same for half a second; return it."""
    deadline = time.monotonic() + _SETTLE
    same, last = 0, -1
    while same < 5 and time.monotonic() < deadline:
        time.sleep(_LOOK)
        now = peer.process.resident_bytes()
        same = same + 1 if now == last else 0
        last = now
    return last
