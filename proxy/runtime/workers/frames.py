"""Messages on a stream: each is its length in four bytes, then JSON. Pure."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]

# Definitions of 1,000 connections are some megabytes; what a worker says is never so long.
LARGEST_DOWN: Final = 256 << 20
LARGEST_UP: Final = 4 << 20
_LENGTH: Final = struct.Struct("!I")


class FrameError(Exception):
    """What came is no message: nobody can tell where the next one begins."""


def frame(message: Message) -> bytes:
    """Return the bytes of one message."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text


class Frames:
    """Puts messages together, of `largest` bytes at most, from the pieces in which they come."""

    def __init__(self, largest: int = LARGEST_DOWN) -> None:
        self._largest = largest
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Take a piece; yield the messages that are whole now. Raises `FrameError`."""
        self._bytes += piece
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > self._largest:
                raise FrameError("too large")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            text = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            try:
                message = json.loads(text)
            except (ValueError, RecursionError):
                raise FrameError("not JSON") from None
            if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
                raise FrameError("no kind")
            yield message
