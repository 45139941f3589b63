"""How long the event loop of a process stands still at most, measured from outside: `python -m tests.support.pulse`.

It asks for `/livez` on one stream every few milliseconds and takes off what the threads of either process only waited
for a processor (proc_pid_schedstat: the time that they were ready and did not run; one that waits so may hold what the
loop needs), so that a busy machine is not taken for a lag. When its input ends it prints the longest one in seconds.
"""

from __future__ import annotations

import asyncio
import http.client
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.support.process import Process

_EVERY: Final = 0.005
_ROOT: Final = Path(__file__).parents[2]


class Pulse:
    """The measuring of one process."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running

    @classmethod
    async def of(cls, process: Process) -> Pulse:
        """Begin to measure."""
        host, port = process.admin
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.pulse", host, str(port), str(process.pid),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=_ROOT,
        )  # fmt: skip
        assert running.stdout is not None
        await running.stdout.readline()  # its stream to the process is one of those that were there before
        return cls(running)

    async def longest(self) -> float:
        """End, and return the longest lag in seconds."""
        said, _ = await self._running.communicate(b"")
        return float(said)


def _waited(pid: str) -> float:
    """Return how many seconds the threads of a process have been ready and did not run."""
    waited = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            waited += int((thread / "schedstat").read_text().split()[1])
    return waited / 1e9


def _own() -> str:
    return Path("/proc/self").readlink().name


def _longest(host: str, port: int, pid: str) -> float:
    longest = 0.0
    admin = http.client.HTTPConnection(host, port, timeout=30)
    own = _own()
    admin.request("GET", "/livez")
    admin.getresponse().read()
    sys.stdout.write("it beats\n")
    sys.stdout.flush()
    with suppress(OSError, http.client.HTTPException):  # the process has ended
        while not select.select([sys.stdin], [], [], _EVERY)[0]:
            idle = _waited(own) + _waited(pid)
            began = time.monotonic()
            admin.request("GET", "/livez")
            admin.getresponse().read()
            lasted = time.monotonic() - began
            longest = max(longest, lasted - (_waited(own) + _waited(pid) - idle))
    return longest


if __name__ == "__main__":
    sys.stdout.write(f"{_longest(sys.argv[1], int(sys.argv[2]), sys.argv[3]):.6f}\n")
