"""What only the socket beneath a stream can do or tell."""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


def reset(transport: asyncio.Transport) -> None:
    """Close at once, with RST where there is such a thing."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has reset the stream: a loop that does not read does not hear of it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # errors are told in any case
    return any(event & select.POLLERR for _, event in poll.poll(0))
