"""How a worker accepts from sockets that others accept from, too: it leaves to them what is their part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.runtime.workers.board import is_ahead

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Coroutine

    from proxy.runtime.workers.board import Board

# Seconds for which a worker leaves what has come to one with fewer streams: the shortest that the loop knows. If that
# one has taken none by then it is busy, has no processor, or stands still: a few are taken in its place.
_GIVES_WAY: Final = 0.001
_INSTEAD: Final = 4
_TURN: Final = 64  # streams that are accepted in one turn of the loop
_NOTHING_LEFT: Final = 0.1  # seconds until the next try, when there is no file or no memory for one more stream


class Place:
    """A worker's place among the others: its number, and what all know of each other."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self._number = number
        self._open = 0
        self._coming = 0

    @property
    def is_ahead(self) -> bool:
        """Whether the next stream is for somebody else."""
        return is_ahead(self._open + self._coming, self.least)

    @property
    def least(self) -> int:
        """The fewest streams that another one has."""
        return self._board.least(self._number)

    def coming(self, change: int) -> None:
        """So many more streams were accepted and are not open yet."""
        self._coming += change
        self._tell()

    def open(self, streams: int) -> None:
        """So many streams are open."""
        self._open = streams
        self._tell()

    def _tell(self) -> None:
        self._board.tell(self._number, self._open + self._coming)


class Acceptor:
    """Accepts from `sock`, which is its own now, as far as it is this worker's part; `serve` takes each stream."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        place: Place,
        serve: Callable[[socket.socket], Coroutine[object, object, None]],
        name: str,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._place = place
        self._serve = serve
        self._name = name
        self._later: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Accept from now on."""
        self._place.coming(0)  # that we are there
        self._loop.add_reader(self._sock, self._ready)

    def close(self) -> None:
        """Accept no more; what was accepted goes on."""
        if self._later is not None:
            self._later.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()

    @property
    def is_paused(self) -> bool:
        """Whether it looks again in a while."""
        return self._later is not None

    def _ready(self) -> None:
        if self._place.is_ahead:
            self._pause(_GIVES_WAY)
        else:
            self._accept()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock)
        self._later = self._loop.call_later(seconds, self._go_on, self._place.least)

    def _go_on(self, least: int) -> None:
        self._later = None
        self.start()
        self._accept(_INSTEAD if self._place.least == least else 0)

    def _accept(self, instead: int = 0) -> None:
        """Take what is our part, and so many in the place of others."""
        for taken in range(_TURN):
            if taken >= instead and self._place.is_ahead:
                return
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file is left, or no memory
                self._pause(_NOTHING_LEFT)
                return
            accepted.setblocking(False)
            self._place.coming(1)
            task = self._loop.create_task(self._take(accepted), name=f"{self._name}: a stream")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, accepted: socket.socket) -> None:
        try:
            await self._serve(accepted)
        except OSError:
            accepted.close()  # it left, or its TLS is none
        finally:
            self._place.coming(-1)
