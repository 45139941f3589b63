"""What of the machine's files and memory is for whom, where the definitions leave it open."""

from __future__ import annotations

import resource
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.definitions.settings import Limits

# Probes, some scrapers and a few browsers; with few files, fewer.
_ADMIN_MAX: Final = 64
_REPLAY_MEMORY_MAX: Final = 64 * 1024 * 1024
# What the process itself has open at rest (16), who is told that there is no place, operators, token requests.
_RESERVED: Final = 28


def replay_memory(limits: Limits, memory_limit: int | None) -> int:
    """Return the bytes that kept bodies may take: as written, else 64 MiB or an eighth of what the cgroup allows."""
    if limits.replay_memory != "auto":
        return limits.replay_memory
    return _REPLAY_MEMORY_MAX if memory_limit is None else min(_REPLAY_MEMORY_MAX, memory_limit // 8)


def share_of(limits: Limits, workers: int, memory_limit: int | None) -> Limits:
    """Return what each of so many processes may have of these limits, so that together they have no more.

    `connections: auto` goes by the files of one process, and each has its own.
    """
    connections = limits.connections
    return replace(
        limits,
        connections=connections if connections == "auto" else ceil(connections / workers),
        upstream_streams=ceil(limits.upstream_streams / workers),
        tunnels=ceil(limits.tunnels / workers),
        replay_memory=replay_memory(limits, memory_limit) // workers,
    )


def admin_streams() -> int:
    """Return how many streams of operators may be open: a fifth of what is kept back."""
    return min(_ADMIN_MAX, reserved() // 5)


def told() -> int:
    """Return how many streams beyond their limit may be open to be told so: an eighth of what is kept back."""
    return reserved() // 8


def reserved() -> int:
    """Return how many files are kept back from the data path."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_RESERVED, soft // 16)


def stream_limits_of(limits: Limits, *, dials: bool) -> tuple[int, int, int]:
    """Return how many streams to applications, streams to upstreams and tunnels may be open, with the files there are.

    To applications: as written, else half of them. Some are kept back in any case, so that operators, token endpoints
    and name look-ups get theirs: whoever comes too much waits or is told so, nothing that is under way fails. `dials`:
    tunnels take streams of their own (those of CONNECT), and get half of what the applications leave.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    downstream, kept_back = soft // 2, reserved()
    if limits.connections != "auto":
        downstream = min(limits.connections, max(downstream, soft - 2 * kept_back))
    rest = soft - downstream - kept_back
    tunnels = max(1, min(limits.tunnels, rest // 2)) if dials else limits.tunnels
    return downstream, max(1, min(limits.upstream_streams, rest - tunnels if dials else rest)), tunnels
