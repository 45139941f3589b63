"""One process with one connection for something that is not a test, and what the kernel knows of that process."""

from __future__ import annotations

import gc
import os
import resource
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.scripts import answer_by_token
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.process import Process
    from tests.support.stage import Case
    from tests.support.upstream import Request, Script


@asynccontextmanager
async def one_case(
    folder: Path,
    *,
    limits: Mapping[str, Any] | None = None,
    connection: Mapping[str, Any] | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    apart: bool = False,
) -> AsyncIterator[Case]:
    """Run a process with these limits and a warm connection; this one may open as many files as the machine lets it.

    `others` are connections whose upstreams are the caller's. With `apart` the process has a core to itself and all
    else the others, if the machine has two, and this process collects no garbage: for whoever measures milliseconds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stage = Stage(
        {"c0": dict(connection or {}), **(others or {})}, {"limits": dict(limits or {}), "log": {"access": False}}
    )
    cores, collects = os.sched_getaffinity(0), gc.isenabled()
    its_own = {min(cores)}
    try:
        if apart:
            os.sched_setaffinity(0, its_own)
        await stage.start(folder)
        if apart:
            os.sched_setaffinity(0, cores - its_own or cores)
            gc.collect()
            gc.disable()
        try:
            case = await stage.case("c0")
            try:
                await case.warm()
                yield case
            finally:
                await case.close()
        finally:
            await stage.close()
    finally:
        os.sched_setaffinity(0, cores)
        if collects:
            gc.enable()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def by_target(scripts: Mapping[bytes, Script]) -> Script:
    """Return a script that does what stands here for the target of a request, and answers all others as usual."""

    async def script(request: Request) -> None:
        await scripts.get(request.target, answer_by_token)(request)

    return script


def cpu_seconds(process: Process) -> float:
    """Return the time that the process has spent on a CPU (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_ms(process: Process) -> float:
    """Return how long its loop stood ready to run while others had the CPU (the kernel's sched-stats.rst)."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e6


class Memory:
    """How much larger a process was at most than in the beginning, whenever somebody looked."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._before = process.resident_bytes()
        self.peak = 0

    def look(self) -> None:
        """Take note of what it holds now."""
        self.peak = max(self.peak, self._process.resident_bytes() - self._before)
