"""What several workers bring: the rate of one process and of two workers, each process with a quarter of a core.

On a machine with two cores load, upstream and proxy would fight for them, and nothing could be seen. So the kernel
gives each process of the proxy no more than a quarter of the proxy's core (cgroups, `cpu.max`), and the other core is
the load's. `python -m bench.quota` needs root, and what `python -m bench` needs.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load, machine
from bench.peers import KINDS, Place, Started
from bench.processes import family
from bench.rows import CLOSED, OFF, WORKERS
from bench.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTED: Final = Path("/sys/fs/cgroup")
_PERIOD: Final = 10_000  # microseconds: short, so that who has used up its part waits for milliseconds only
_PART: Final = 0.25
_ROUNDS: Final = 5
_SECONDS: Final = 2.0
_ROW: Final = next(row for row in CLOSED if row.name == "workers")


@contextmanager
def limited(pid: int) -> Iterator[None]:
    """Let a process have no more than its part of a core within the block; raises `OSError` where we may not."""
    first = _MOUNTED / "cpu"
    folder = (first if first.is_dir() else _MOUNTED) / f"bench-quota-{pid}"
    folder.mkdir()
    try:
        quota = round(_PART * _PERIOD)
        if first.is_dir():
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (folder / "cpu.max").write_text(f"{quota} {_PERIOD}")
        (folder / "cgroup.procs").write_text(str(pid))
        yield
        with suppress(ProcessLookupError):
            (folder.parent / "cgroup.procs").write_text(str(pid))
    finally:
        with suppress(OSError):
            folder.rmdir()


def measured(name: str, place: Place) -> tuple[float, float]:
    """Return requests a second and microseconds of CPU for each, of one fresh start."""
    kind = next(each for each in KINDS if each.name == name)
    peer = Started(kind, place)
    try:
        load.closed(peer.plain, _ROW, 1.0, place.cores.load)  # all workers serve after it
        with ExitStack() as limits:
            for pid in list(family(peer.process.pid)):
                limits.enter_context(limited(pid))
            spent = peer.process.cpu_seconds()
            found = load.closed(peer.plain, _ROW, _SECONDS, place.cores.load)
            spent = peer.process.cpu_seconds() - spent
    finally:
        peer.stop()
    if found.failed or found.broken:
        raise RuntimeError(f"{name}: {found.failed} answers failed, {found.broken} streams broke")
    return found.completed / found.seconds, spent / found.completed * 1e6


def main() -> int:
    """Print both, medians of interleaved rounds; returns the exit status."""
    if os.geteuid() != 0:
        print("only root may give processes a part of a core", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        used = machine.cores()
        upstream = Upstream(Path(folder) / "upstream", used)
        try:
            place = Place(Path(folder), upstream.ports, used, sys.executable, Path(folder))
            rounds = [{name: measured(name, place) for name in (OFF, WORKERS)} for _ in range(_ROUNDS)]
        finally:
            upstream.close()
    print(f"| each process has {_PART:.0%} of a core | requests/s | CPU per request, µs |\n|---|--:|--:|")
    for name, title in ((OFF, "one process"), (WORKERS, "two workers")):
        rate, cost = (statistics.median(each[name][which] for each in rounds) for which in (0, 1))
        print(f"| {title} | {rate:,.0f} | {cost:.1f} |")
    ratios = sorted(each[WORKERS][0] / each[OFF][0] for each in rounds)
    print(f"\ntwo workers / one process: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
