"""A control group of a test's own, of either version, and what the kernel has counted in it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTED: Final = Path("/sys/fs/cgroup")


class Cgroup:
    """`within` runs a command in it. CPU in seconds, memory in bytes, the page cache of what was read included."""

    def __init__(self, cpu: Path, memory: Path) -> None:
        self.folders = tuple(dict.fromkeys((cpu, memory)))
        self._cpu = cpu
        self._memory = memory

    @property
    def within(self) -> tuple[str, ...]:
        """The command that enters and then becomes another one."""
        enter = " && ".join(f"echo $$ >{folder}/cgroup.procs" for folder in self.folders)
        return ("sh", "-c", f'{enter} && exec "$@"', "sh")

    def cpu_seconds(self) -> float:
        """Return the CPU time that was used in it so far."""
        usage = self._cpu / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        lines = dict(line.split() for line in (self._cpu / "cpu.stat").read_text().splitlines())
        return int(lines["usage_usec"]) / 1e6

    def memory(self) -> int:
        """Return what it holds now, without what the kernel would drop first: the working set of Kubernetes."""
        used = self._number("memory.current", "memory.usage_in_bytes")
        stat = dict(line.split() for line in (self._memory / "memory.stat").read_text().splitlines())
        return used - int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))

    def memory_peak(self) -> int:
        """Return the most that it has held."""
        return self._number("memory.peak", "memory.max_usage_in_bytes")

    def _number(self, *names: str) -> int:
        [found] = [self._memory / name for name in names if (self._memory / name).exists()]
        return int(found.read_text())


@contextmanager
def cgroup(name: str) -> Iterator[Cgroup | None]:
    """Make one for the block; None where this machine does not let us."""
    first, second = _MOUNTED / "cpuacct", _MOUNTED / "memory"
    parents = (first, second) if second.is_dir() else (_MOUNTED, _MOUNTED)
    made = Cgroup(*(parent / f"{name}-{os.getpid()}" for parent in parents))
    done: list[Path] = []
    try:
        try:
            for folder in made.folders:
                folder.mkdir()
                done.append(folder)
            made.memory_peak(), made.cpu_seconds()
        except (OSError, ValueError):
            yield None
        else:
            yield made
    finally:
        for folder in done:
            with suppress(OSError):  # somebody is still in it: the kernel keeps it until then
                folder.rmdir()
