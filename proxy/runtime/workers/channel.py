"""One end of the socket pair between the main process and a worker: messages both ways, files from the main process."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.runtime.workers.frames import FrameError, Frames, frame

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxy.runtime.workers.frames import Message

_READ: Final = 256 << 10
# The kernel takes 253 files with one message (unix(7), SCM_MAX_FD).
FILES_MAX: Final = 128
# Who does not read for so long that this is waiting will not read any more.
_WAITING_MAX: Final = 64 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends; neither is inherited by a program that is not given it."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def end_of(number: int) -> socket.socket:
    """Return the end that this process was started with, as file descriptor `number`."""
    end = socket.socket(fileno=number)
    os.set_inheritable(number, False)
    return end


class Channel:
    """Sends and hears messages; `heard` gets each with its files, `lost` is called once, when the other side is gone.

    Needs the loop from `start` on. As many as `files_max` files are taken at a time, which whoever gets them closes. A
    message may have `largest` bytes.
    """

    def __init__(self, end: socket.socket, *, files_max: int, largest: int) -> None:
        end.setblocking(False)
        self._end = end
        self._files_space = socket.CMSG_SPACE(files_max * array.array("i").itemsize) if files_max else 0
        self._frames = Frames(largest)
        self._files: list[int] = []
        self._waiting: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: Callable[[Message], None] = lambda _: None
        self._lost: Callable[[], None] = lambda: None

    def start(
        self, loop: asyncio.AbstractEventLoop, heard: Callable[[Message], None], lost: Callable[[], None]
    ) -> None:
        """Begin to hear."""
        self._heard, self._lost = heard, lost
        self._loop = loop
        loop.add_reader(self._end, self._read)
        if self._waiting:
            loop.add_writer(self._end, self._write)

    def send(self, message: Message, files: Sequence[int] = ()) -> None:
        """Send a message, after these files, which are copied at once and stay open here. Never blocks."""
        if self._end.fileno() < 0:
            return
        while len(files) > FILES_MAX:
            self._queue(frame({"kind": "files"}), files[:FILES_MAX])
            files = files[FILES_MAX:]
        self._queue(frame(message), files)
        if self._size > _WAITING_MAX:
            self._end_it()

    def files(self) -> list[int]:
        """Return the files that have come and were not taken yet; they are the caller's now."""
        taken, self._files = self._files, []
        return taken

    def close(self) -> None:
        """Hear and send no more."""
        if self._end.fileno() < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
        self._end.close()
        for _, copies in self._waiting:
            _close(copies)
        self._waiting.clear()
        _close(self.files())

    def _queue(self, data: bytes, files: Sequence[int]) -> None:
        idle = not self._waiting
        self._waiting.append((memoryview(data), tuple(os.dup(each) for each in files)))
        self._size += len(data)
        if idle and self._loop is not None:
            self._write()
            if self._waiting and self._end.fileno() >= 0:
                self._loop.add_writer(self._end, self._write)

    def _write(self) -> None:
        while self._waiting:
            data, copies = self._waiting[0]
            try:
                sent = socket.send_fds(self._end, [data], list(copies)) if copies else self._end.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # reading finds the end of it, and what was said before
                for _, unsent in self._waiting:
                    _close(unsent)
                self._waiting.clear()
                break
            _close(copies)
            self._size -= sent
            if sent < len(data):
                self._waiting[0] = (data[sent:], ())
            else:
                self._waiting.popleft()
        if self._loop is not None:
            self._loop.remove_writer(self._end)

    def _read(self) -> None:
        try:
            piece, ancillary, _, _ = self._end.recvmsg(_READ, self._files_space, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece, ancillary = b"", []
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._files += numbers
        if not piece:
            self._end_it()
            return
        try:
            for message in self._frames.feed(piece):
                if message["kind"] != "files":
                    self._heard(message)
        except FrameError:
            self._end_it()

    def _end_it(self) -> None:
        if self._end.fileno() >= 0:
            self.close()
            self._lost()


def _close(files: Sequence[int]) -> None:
    for each in files:
        os.close(each)
