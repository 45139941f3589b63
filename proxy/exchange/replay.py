"""What is kept for the sake of a second attempt: the request's body, and the response that was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.wire.response import ResponseHead


class ReplayMemory:
    """Bytes that all kept bodies together may take; while not `keeps_requests` no more of requests is kept."""

    __slots__ = ("keeps_requests", "left")

    def __init__(self, size: int) -> None:
        self.left = size
        self.keeps_requests = True

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False when there are not as many left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Return reserved bytes."""
        self.left += size


class KeptBody:
    """What came of a request's body so far, or nothing once it grew over a limit."""

    __slots__ = ("_limit", "_memory", "_pieces", "_size", "whole")

    def __init__(self, limit: int, memory: ReplayMemory) -> None:
        self._limit = limit
        self._memory = memory
        self._pieces: list[bytes] = []
        self._size = 0
        self.whole = True

    def add(self, piece: bytes) -> None:
        """Keep one more piece, or give all of them up when they are too many."""
        if not self.whole:
            return
        memory = self._memory
        if self._size + len(piece) > self._limit or not memory.keeps_requests or not memory.take(len(piece)):
            self.drop()
            return
        self._pieces.append(piece)
        self._size += len(piece)

    def drop(self) -> None:
        """Keep nothing; the request can't be sent again."""
        self._memory.give_back(self._size)
        self._pieces, self._size, self.whole = [], 0, False

    def bytes(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


class HeldResponse:
    """A final response that has not been relayed, as far as it came. `size` is that of its pieces in bytes."""

    __slots__ = ("_pieces", "done", "head", "size")

    def __init__(self, head: ResponseHead, piece: bytes, *, done: bool) -> None:
        self.head = head
        self._pieces = [piece]
        self.size = len(piece)
        self.done = done

    def add(self, data: bytes, *, done: bool) -> None:
        """Take more of it."""
        self._pieces.append(data)
        self.size += len(data)
        self.done = done

    @property
    def body(self) -> bytes:
        """What came of its body, with its framing."""
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]
