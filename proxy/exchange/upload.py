"""The body of a request on its way up: what waits for a stream, and what is kept for a second attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.exchange.replay import KeptBody

if TYPE_CHECKING:
    from proxy.exchange.replay import ReplayMemory

WAITING_MAX: Final = 64 * 1024  # bytes that may wait for a token or a stream before the client is held


class Upload:
    """`done` once the whole body came; `size` is how much of it did."""

    __slots__ = ("_kept", "_waiting", "_waiting_size", "done", "size")

    def __init__(self, piece: bytes, *, done: bool) -> None:
        self.done = done
        self.size = self._waiting_size = len(piece)
        self._waiting = [piece] if piece else []
        self._kept: KeptBody | None = None

    def keep(self, limit: int, memory: ReplayMemory) -> None:
        """Keep the body for a second attempt, within `limit` bytes."""
        self._kept = KeptBody(limit, memory)
        for piece in self._waiting:
            self._kept.add(piece)

    def add(self, piece: bytes, *, done: bool) -> None:
        """Note what came."""
        self.done = done
        self.size += len(piece)
        if self._kept is not None:
            self._kept.add(piece)

    def wait(self, piece: bytes) -> bool:
        """Let a piece wait for a stream; whether the client has to be held."""
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        return self._waiting_size > WAITING_MAX and not self.done

    def take(self) -> tuple[bytes, bool]:
        """Return what waited, and whether the client was held for it."""
        if not self._waiting:
            return b"", False
        waiting, held = b"".join(self._waiting), self._waiting_size > WAITING_MAX
        self._waiting, self._waiting_size = [], 0
        return waiting, held

    @property
    def is_at_hand(self) -> bool:
        """Whether all of it could be sent again."""
        return self.done and (self.size == 0 or (self._kept is not None and self._kept.whole))

    def rewind(self) -> None:
        """Let all of it wait again, for the second attempt; it holds what came in between, too."""
        if self._kept is not None and self._kept.whole:
            self._waiting = [self._kept.bytes()]

    def drop(self) -> None:
        """Keep nothing any more."""
        if self._kept is not None:
            self._kept.drop()


class _NoUpload(Upload):
    """Of a request without a body: nothing to keep, nothing to add, and nothing that could be set."""

    __slots__ = ()
    done = True
    size = 0

    def __init__(self) -> None:
        """Leave the slots empty: one is enough for all requests."""

    def take(self) -> tuple[bytes, bool]:
        """Nothing waits."""
        return b"", False

    @property
    def is_at_hand(self) -> bool:
        """There is nothing that could be missing."""
        return True

    def rewind(self) -> None:
        """Nothing was sent."""

    def drop(self) -> None:
        """Nothing was kept."""


NO_UPLOAD: Final = _NoUpload()
