"""The limit that a cgroup sets to our memory, and what counts against it (version 2; where there is none, version 1).

What is in use is what the kernel could not take back: the memory of our cgroup without the cache of files, which gives
way, and without what other processes in it have for themselves (a shell, the application in the same container), since
turning requests away would free none of that. Resident memory alone would miss the buffers of sockets: with many slow
readers there is more in them than in the process.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_STATM: Final = Path("/proc/self/statm")
_NO_LIMIT: Final = 1 << 60  # version 1 says "none" by a number of about 2^63
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ENOUGH: Final = 16 * 1024  # bytes: `memory.stat` of Linux 6.18 has 1,800


@dataclass(frozen=True, slots=True)
class _Names:
    """How one version calls it (cgroup-v2.rst; cgroup-v1/memory.rst, where `total_` has the groups below in it)."""

    usage: str
    limit: str
    cache: tuple[bytes, ...]
    anonymous: bytes


_SECOND: Final = _Names(
    "memory.current", "memory.max", (b"inactive_file", b"active_file", b"slab_reclaimable"), b"anon"
)
_FIRST: Final = _Names(
    "memory.usage_in_bytes", "memory.limit_in_bytes", (b"total_inactive_file", b"total_active_file"), b"total_rss"
)


class Cgroup:
    """The files of our cgroup.

    Those that are read at each look stay open: that costs a read, and goes on when no file can be opened any more.
    """

    def __init__(self, folders: tuple[Path, ...], names: _Names) -> None:
        """Open the files of the first of `folders`, with the limits of all of them; raises `OSError`."""
        self._names = names
        self._limits = tuple(folder / names.limit for folder in folders)
        self._limit: int | None = None
        self._ours = 0
        self._statm: tuple[Path, ...] = (_STATM,)
        self._usage = _opened(folders[0] / names.usage)
        self._stat = _opened(folders[0] / "memory.stat")

    def close(self) -> None:
        """Close the files."""
        os.close(self._usage)
        os.close(self._stat)

    def count_as_ours(self, processes: Iterable[int]) -> None:
        """Take these processes for ours: what one of them needs, all of them can give."""
        self._statm = tuple(Path(f"/proc/{number}/statm") for number in processes)

    def limit(self) -> int | None:
        """Return the smallest limit of our cgroup and those above it, in bytes; it may change while we run."""
        smallest = _NO_LIMIT
        for path in self._limits:
            try:
                text = path.read_bytes().strip()
            except FileNotFoundError:  # the root has none
                continue
            except OSError:  # no file is left: as it was
                return self._limit
            if text.isdigit():
                smallest = min(smallest, int(text))
        self._limit = smallest if smallest < _NO_LIMIT else None
        return self._limit

    def charged(self) -> int:
        """Return the bytes that are charged to our cgroup, the cache of files included."""
        return int(_read(self._usage))

    def used(self) -> int:
        """Return the bytes that count: ours, and not to be had back from the kernel."""
        charged = self.charged()
        stat = dict(line.split(b" ", 1) for line in _read(self._stat).splitlines())
        cache = sum(int(stat.get(name, 0)) for name in self._names.cache)
        with suppress(OSError):  # no file is left: as it was
            self._ours = sum(map(_private, self._statm))
        others = max(0, int(stat.get(self._names.anonymous, 0)) - self._ours)
        return max(0, charged - cache - others)


def open_cgroup(root: Path = ROOT, membership: Path = _MEMBERSHIP) -> Cgroup | None:
    """Return our own cgroup below `root`, where cgroups are mounted; None where the kernel counts no memory for us."""
    for base, path, names in _places(root, membership):
        # In a container the mount begins at our own cgroup, and the path may be that of the host.
        folders = tuple(each for each in (base / path, *(base / path).parents) if each.is_relative_to(base))
        there = tuple(each for each in folders if (each / names.usage).is_file())
        if there:
            with suppress(OSError):
                return Cgroup(there, names)
    return None


def _places(root: Path, membership: Path) -> Iterator[tuple[Path, str, _Names]]:
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    entries = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    second = next((path for number, controllers, path in entries if number == "0" and not controllers), "/")
    first = next((path for _, controllers, path in entries if "memory" in controllers.split(",")), "/")
    for base, path, names in ((root, second, _SECOND), (root / "memory", first, _FIRST)):
        yield base, "" if ".." in path else path.lstrip("/"), names


def _private(statm: Path) -> int:
    _, resident, shared = map(int, statm.read_bytes().split(b" ", 3)[:3])
    return (resident - shared) * _PAGE


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _read(file: int) -> bytes:
    return os.pread(file, _ENOUGH, 0)
