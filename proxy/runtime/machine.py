"""What every process of the proxy asks of its machine before it serves."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

# Parameters of mallopt, as its page numbers them.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 32 << 20
_ROOM: Final = 16_384  # files, at 8 bytes of the kernel's memory each


def keep_large_blocks() -> None:
    """Let glibc keep the memory of large reads instead of mapping and unmapping it each time.

    The loop reads up to 256 KiB at once; mapped anew, every page of that is faulted in. Measured on 1 MiB answers: 44 %
    less CPU. musl has no such setting and no such habit.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
        libc.mallopt(_M_TOP_PAD, _LARGE // 32)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that everything runs on."""
    import uvloop

    return uvloop.new_event_loop()


def settle_heap() -> None:
    """Once all is made: what lives until the end is not worth looking at again, and a request makes few cycles.

    A crowd brings objects that stay: of 10,000 a first look takes 1 ms, and that is how long it may hold up the others.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def raise_descriptor_limit() -> None:
    """Have as many files as this process may have, and room for the first thousands of them.

    The kernel makes room as files are opened, twice as much each time, and then waits until no other thread can look
    at the table as it was. Measured: the loop stands still for 8 to 16 ms as a crowd passes 256, 512, 1,024 and 2,048
    files. While the process has one thread, as it has when it starts, there is nothing to wait for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with suppress(OSError):
        lowest = os.open(os.devnull, os.O_RDONLY)
        try:
            os.close(fcntl.fcntl(lowest, fcntl.F_DUPFD_CLOEXEC, min(hard, _ROOM) - 1))
        finally:
            os.close(lowest)
