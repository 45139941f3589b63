"""Streams and what each costs: idle between requests, stalled within an answer, idle tunnels, fresh TLS sessions."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from bench.load import ask_at, head, read_answer
from bench.pull import tunnel

if TYPE_CHECKING:
    from bench.load import Entry
    from bench.peers import Started

STALLED: Final = 100
TUNNELS: Final = 1000
SESSIONS: Final = 300
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


def tunnels(peer: Started, count: int = TUNNELS) -> float:
    """Return the bytes of resident memory per tunnel through which nothing has passed yet."""
    entry = peer.tunnel
    for _ in range(_WARM):
        tunnel(entry.port, entry.target).close()
    before = _settled(peer)
    with ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(tunnel(entry.port, entry.target))
        return (_settled(peer) - before) / count


def sessions(peer: Started, count: int = SESSIONS) -> float:
    """Return the seconds of CPU per intercepted stream: CONNECT, a full handshake, one request, the end.

    The host is the same each time, so that its leaf is at hand.
    """
    for _ in range(_WARM):
        ask_at(peer.secured, "/small")
    before = peer.process.cpu_seconds()
    for _ in range(count):
        if ask_at(peer.secured, "/small").status != 200:
            raise ValueError("an intercepted session got no answer")
    return (peer.process.cpu_seconds() - before) / count


def _warm(peer: Started) -> int:
    for _ in range(_WARM):
        ask_at(peer.plain, "/small")
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
