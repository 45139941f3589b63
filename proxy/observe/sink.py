"""Where log lines leave the process: a bounded queue and one thread that writes.

A full pipe or a stopped terminal holds up nobody; what does not fit is dropped and counted. A thread, because
`O_NONBLOCK` on standard output would be set for everybody who shares it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import deque
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.clock import Clock

# About 2 MiB of usual lines; at 20,000 lines a second 0.4 s of a reader that does not read.
QUEUE_LINES: Final = 8192
# Two writes are so far apart at least, and what comes meanwhile goes out in one: one write per line costs 1.2 µs and a
# thread's wake-up more. What comes later than that has nothing to wait for, and costs one wake-up instead of two.
GATHER_SECONDS: Final = 0.02
# One write of at most this many lines; a pipe holds 64 KiB, so more would only be written in pieces.
WRITE_LINES: Final = 256
_OPEN: Final = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"


class LineSink:
    """Takes whole lines, each with its newline, and writes them to file descriptor `fd` in order.

    `write` never blocks and never raises. The thread begins with the first line and ends with `close`.
    """

    def __init__(self, fd: int, clock: Clock, *, capacity: int = QUEUE_LINES, gather: float = GATHER_SECONDS) -> None:
        self.dropped = 0
        self._fd = fd
        self._monotonic = clock.monotonic
        self._capacity = capacity
        self._gather = gather
        self._lines: deque[bytes] = deque()
        self._some = Event()
        self._closing = Event()
        self._broken = False
        self._told = 0
        self._starting, self._writing = Lock(), Lock()
        self._thread: Thread | None = None

    def write(self, line: bytes) -> None:
        """Queue one line; when the queue is full the line is dropped and counted."""
        lines = self._lines
        if len(lines) >= self._capacity or self._broken:
            self.dropped += 1
            return
        lines.append(line)
        if not self._some.is_set():
            self._wake()

    def write_all(self, lines: list[bytes]) -> None:
        """Queue several lines, as far as there is room."""
        queue = self._lines
        room = 0 if self._broken else self._capacity - len(queue)
        if len(lines) > room:
            self.dropped += len(lines) - room
            lines = lines[:room]
        queue.extend(lines)
        if lines and not self._some.is_set():
            self._wake()

    def close(self, patience: float = 1.0) -> None:
        """Write what is queued and end the thread; give up after `patience` seconds when nobody reads."""
        self._closing.set()
        self._some.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            thread.join(patience)
        else:  # nothing was written, or a signal came in the middle of the thread's beginning
            self._write_queued()

    def _wake(self) -> None:
        self._some.set()
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                # A daemon: a reader that never reads must not keep the process alive.
                self._thread = Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        next_at = self._monotonic()
        while True:
            self._some.wait()
            early = next_at - self._monotonic()
            if early > 0:
                self._closing.wait(early)
            self._some.clear()
            closing = self._closing.is_set()  # not sooner: what `close` sets last must not be cleared unseen
            self._write_queued()
            if closing:
                return
            next_at = self._monotonic() + self._gather

    def _write_queued(self) -> None:
        with self._writing:
            while self._lines:
                self._write([self._lines.popleft() for _ in range(min(WRITE_LINES, len(self._lines)))])

    def _write(self, lines: list[bytes]) -> None:
        if self.dropped != self._told:
            missing, self._told = self.dropped - self._told, self.dropped
            lines.insert(0, b'{"event":"log_lines_dropped","lines":%d,"level":"warning"}\n' % missing)
        rest = b"".join(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            # Nobody will ever read again; the proxy goes on without a log.
            self._broken = True
            self.dropped += len(lines)
        except OSError:
            # A full disk may have room again; the next lines are tried.
            self.dropped += len(lines)


class SharedSink(LineSink):
    """A sink whose file other processes write to, too: who has locked the file `lock` writes, so that lines stay whole.

    A pipe takes at most 4 KiB at once for sure (pipe(7), PIPE_BUF). The lock of a process that dies is free (flock(2)).
    """

    def __init__(self, fd: int, clock: Clock, lock: int) -> None:
        super().__init__(fd, clock)
        # Opened once more: the lock belongs to what was opened, and `lock` is the same one for all processes. Not
        # fcntl(2): a process loses such a lock when it closes any copy of `lock`, as when that goes to a new worker.
        self._turn = os.open(f"{_OPEN}/{lock}", os.O_RDWR | os.O_CLOEXEC)

    def _write(self, lines: list[bytes]) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            super()._write(lines)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
