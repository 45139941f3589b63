"""A cgroup as the kernel shows it, written by a test; and the product in it: `python -m tests.support.cgroup FOLDER …`.

What follows is the command that would have been run without it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
MIB: Final = 1 << 20


class WrittenCgroup:
    """The files of a cgroup of version 2 with a limit of 1,000 MiB, so that a MiB is a thousandth."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.within = (sys.executable, "-m", "tests.support.cgroup", str(folder))
        self.limit(1000)
        self.use(100)

    def limit(self, mib: int | None) -> None:
        """Set the limit, or none."""
        self._write("memory.max", "max" if mib is None else str(mib * MIB))

    def use(self, mib: int, *, cache: int = 0, others: int = 0) -> None:
        """Let so much be in use besides so much cache of files, and besides what other processes have."""
        self._write("memory.stat", f"anon {others * MIB}\nfile {cache * MIB}\ninactive_file {cache * MIB}\n")
        self._write("memory.current", str((mib + cache + others) * MIB))

    def _write(self, name: str, text: str) -> None:
        """Write over what is there, as the kernel would: a reader never finds less than a whole file."""
        file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, text.ljust(200).encode() + b"\n", 0)
        finally:
            os.close(file)


class RealCgroup:
    """A cgroup below our own in which a process may have so many bytes and no swap. Raises `OSError` where it can't be.

    Of version 1 or 2, as this machine has it; the latter lets no group share memory out that has processes itself.
    """

    def __init__(self, limit: int) -> None:
        entries = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        first = next((path for _, controllers, path in entries if "memory" in controllers.split(",")), None)
        second = next((path for number, _, path in entries if number == "0"), "/")
        above = ROOT / "memory" / first.lstrip("/") if first is not None else ROOT / second.lstrip("/")
        self._first = first is not None
        self.folder = above / f"bounds-{os.getpid()}"
        self.folder.mkdir()
        try:
            if self._first:
                self._set("memory.limit_in_bytes", limit)
            else:
                (above / "cgroup.subtree_control").write_text("+memory")
                self._set("memory.max", limit)
                self._set("memory.swap.max", 0)
        except OSError:
            self.folder.rmdir()
            raise
        self.within = ("sh", "-c", f'echo $$ >{self.folder}/cgroup.procs && exec "$@"', "sh")

    def _set(self, name: str, value: int) -> None:
        with suppress(FileNotFoundError):  # no swap, no file for it
            (self.folder / name).write_text(str(value))

    def highest(self) -> int:
        """Return the most bytes that were charged to it at once, the cache of files among them."""
        return int((self.folder / ("memory.max_usage_in_bytes" if self._first else "memory.peak")).read_text())

    def killed(self) -> int:
        """Return how many processes the kernel has ended because the limit was reached."""
        text = (self.folder / ("memory.oom_control" if self._first else "memory.events")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def is_empty(self) -> bool:
        """Whether every process in it has ended."""
        return not (self.folder / "cgroup.procs").read_text()

    def remove(self) -> None:
        """Take it away; every process in it has ended."""
        self.folder.rmdir()


def main(words: list[str]) -> int:
    """Be `iclient-proxy run --config FILE` where the kernel shows that cgroup."""
    from proxy.runtime.run import run

    return run([Path(words[-1])], Path(words[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
