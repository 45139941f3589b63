"""The process of a worker: how it is started, how it ended, and when another one is begun in its place."""

from __future__ import annotations

import os
import signal
import subprocess  # nosec B404 # a worker is this very program, without a shell
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.runtime.workers.inherited import environment

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

# Seconds until a worker that has ended is begun anew: the first one at once, doubling while none lives for long.
_PAUSE_MIN: Final = 0.1
_PAUSE_MAX: Final = 30.0
LONG: Final = 60.0  # seconds: who has lived for so long is begun anew at once

Child = subprocess.Popen[bytes]


def started(program: Sequence[str], end: socket.socket) -> Child:
    """Start a worker by the command of the product, with this end of a socket pair; raises `OSError`."""
    return subprocess.Popen(  # noqa: S603 this very program, our own arguments  # nosec B603
        [*program, "worker", str(end.fileno())],
        stdin=subprocess.DEVNULL,
        env=environment(os.environ),
        pass_fds=[end.fileno()],
    )


def pause_after(ends: int) -> float:
    """Return the seconds until a worker begins anew that ended so often without a long life. Pure."""
    return min(_PAUSE_MAX, _PAUSE_MIN * 2.0 ** min(ends - 1, 20))


def status_of(child: Child) -> str:
    """Wait for the end and return how it ended, in words; blocks."""
    status = child.wait()
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # process 1 of a container, where the kernel buries
        return "unknown"
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


def see_off(child: Child, until: float) -> None:
    """Wait for the end, and kill who has not ended by then (`monotonic`); blocks."""
    try:
        child.wait(max(0.0, until - monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
