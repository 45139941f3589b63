"""Processes that are started pinned to a core, and what /proc says about them and all their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PATIENCE = 10.0  # seconds for a process to end by itself


class Running:
    """A started program on one core. What it prints goes to `log`, so that a failed start can be explained."""

    def __init__(
        self,
        command: Sequence[str],
        core: int,
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        stdout: IO[bytes] | int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],  # replaces itself by the command: same process id
                stdin=subprocess.DEVNULL,
                stdout=file if stdout is None else stdout,
                stderr=file,
                env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **(environment or {})},
                cwd=log.parent,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        """The id of the first process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def said(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="backslashreplace")[-2000:]

    def cpu_seconds(self) -> float:
        """Return user and system time of the process and its children so far.

        From `schedstat`, in nanoseconds: the sum that utime and stime in `stat` are made of, without their 10 ms steps.
        """
        total = 0
        for pid in family(self.pid):
            for task in _entries(f"/proc/{pid}/task"):
                words = _read(f"/proc/{pid}/task/{task}/schedstat").split()
                total += int(words[0]) if words else 0
        return total / 1e9

    def resident_bytes(self) -> int:
        """Return the resident memory of the process and its children."""
        page = os.sysconf("SC_PAGE_SIZE")
        total = 0
        for pid in family(self.pid):
            words = _read(f"/proc/{pid}/statm").split()
            total += int(words[1]) * page if words else 0
        return total

    def stop(self) -> None:
        """End it: politely first."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in reversed(list(family(self.pid))):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()


def family(pid: int) -> Iterator[int]:
    """Yield `pid` and the processes below it."""
    yield pid
    for task in _entries(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{task}/children").split():
            yield from family(int(child))


def module(name: str, *words: str, python: str = sys.executable) -> list[str]:
    """Return the command that runs a module of this package."""
    return [python, "-m", name, *words]


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, not paths, and often
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):  # it ended between two looks
        return ""
