"""Where the CPU time of a running peer goes: kernel, interpreter, libraries; as `perf` samples it."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from bench.processes import family

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LINE: Final = re.compile(r"^\s*(\d+\.\d+)%\s+(\S+)", re.MULTILINE)
_KERNEL: Final = "[kernel.kallsyms]"
_SMALLEST: Final = 0.01  # of the whole; what is less is "the rest"
# Prime, so that it does not keep step with anything the peer does 1,000 times a second.
_PER_SECOND: Final = 1999


def available() -> bool:
    """Whether there is a `perf` to ask."""
    return shutil.which("perf") is not None


def shares(pid: int, file: Path, work: Callable[[], object]) -> dict[str, float]:
    """Sample process `pid` and those below it while `work` runs; return the parts of their CPU time, 1 in all.

    By where it was spent: kernel, libraries. `file` is for the samples. Empty when `perf` may not look or saw nothing.
    """
    pids = ",".join(map(str, family(pid)))
    words = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(_PER_SECOND), "-p", pids, "-o", str(file)]
    recorder = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        work()
    finally:
        recorder.terminate()  # it writes its file then
        recorder.wait()
    words = ["perf", "report", "-q", "--stdio", "--sort", "dso", "-i", str(file)]
    return read(subprocess.run(words, check=False, capture_output=True, text=True).stdout)


def read(text: str) -> dict[str, float]:
    """Return the parts in what `perf report --sort dso` printed, the largest first."""
    found: dict[str, float] = {}
    for percent, place in _LINE.findall(text):
        part = float(percent) / 100
        name = "kernel" if place == _KERNEL else place.partition(".cpython-")[0]
        if part >= _SMALLEST:
            found[name] = found.get(name, 0.0) + part
    if found:
        found["the rest"] = max(0.0, 1.0 - sum(found.values()))
    return found
