"""Looks at the memory, the more often the less of it is left, and acts before the kernel ends the process."""

from __future__ import annotations

import ctypes
import gc
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from proxy.exchange.pressure import FULL, Pressure, pressure_after

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from proxy.exchange.surroundings import Surroundings
    from proxy.inbound.listener import Listener
    from proxy.outbound.pool import Pool
    from proxy.runtime.cgroup import Cgroup

# Seconds from one giving back to the next while memory is short, and so many times as long as it took: 3 ms in a small
# process, more with many streams, but never more than a fiftieth of the time.
_PAUSE: Final = 1.0
_PAUSE_TIMES: Final = 50
_GROWN: Final = 1.0  # seconds until an exchange has come to what it will, also on a busy machine
_STAYS: Final = 1.0  # seconds before it becomes less: that bounds the log lines, too
# Seconds from one look to the next: as many as it takes to reach the upper mark at the fastest pace that was seen, some
# 2,000 new streams a second whose clients read nothing. A look costs 6 µs, near the marks 25.
SELDOM: Final = 0.25
_OFTEN: Final = 0.01
_FASTEST: Final = 400 << 20  # bytes a second
_MEANS: Final = {
    Pressure.NONE: "everything as usual",
    Pressure.NEARLY: "responses end their streams, no body is kept for a second attempt",
    Pressure.FULL: "new requests are answered with 503 overloaded",
}


class MemoryWatch:
    """Acts on what `cgroup` shows. `give_back` frees what can be freed at once. Needs a running loop from its start."""

    def __init__(self, cgroup: Cgroup, surroundings: Surroundings, give_back: Callable[[Pressure], None]) -> None:
        self._cgroup = cgroup
        self._surroundings = surroundings
        self._give_back = give_back
        self._again_at = 0.0
        self._pressure = Pressure.NONE
        self._changed_at = 0.0
        self._before = self._counted = 0
        self._counted_at = 0.0
        self._limit: int | None = None
        self._limit_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._surroundings.loop.call_later(self._look(), self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._cgroup.close()

    def _look(self) -> float:
        """Look, and act where it changed; return the seconds until the next look."""
        try:
            limit = self._current_limit()
            if limit is None:
                self._change(Pressure.NONE, 0, 0)
                return SELDOM
            used = self._used(limit)
            young = self._young()
            pressure = pressure_after(self._pressure, used, limit, young=young)
            if pressure and monotonic() >= self._again_at:
                begun = monotonic()
                self._give_back(pressure)
                ended = monotonic()
                self._again_at = ended + max(_PAUSE, _PAUSE_TIMES * (ended - begun))
                used = self._used(limit)
                pressure = pressure_after(self._pressure, used, limit, young=young)
        except (OSError, ValueError):  # the cgroup was removed under us: there is no limit any more
            self._change(Pressure.NONE, 0, 0)
            return SELDOM
        self._change(pressure, used, limit)
        return next_look(used, limit)

    def _current_limit(self) -> int | None:
        """Return the limit, which is read again now and then."""
        if monotonic() >= self._limit_until:
            self._limit, self._limit_until = self._cgroup.limit(), monotonic() + SELDOM
        return self._limit

    def _young(self) -> int:
        """Return how many exchanges more are under way than one or two seconds ago: these may still grow."""
        in_flight, now = self._surroundings.counters.in_flight, monotonic()
        if now - self._counted_at >= _GROWN:
            self._counted_at, self._before, self._counted = now, self._counted, in_flight
        return max(0, in_flight - self._before)

    def _used(self, limit: int) -> int:
        charged = self._cgroup.charged()
        # Far from the marks there is no need to know what of it is cache.
        return charged if charged < limit // 2 else self._cgroup.used()

    def _change(self, pressure: Pressure, used: int, limit: int) -> None:
        if pressure is self._pressure or (pressure < self._pressure and monotonic() - self._changed_at < _STAYS):
            return
        self._pressure, self._changed_at = pressure, monotonic()
        self._surroundings.press(pressure)
        self._surroundings.counters.memory_pressure = pressure.value
        tell = self._log.warning if pressure else self._log.info
        tell(
            "memory_pressure",
            pressure=pressure.name.lower(),
            used_bytes=used,
            limit_bytes=limit,
            means=_MEANS[pressure],
        )


def next_look(used: int, limit: int) -> float:
    """Return the seconds until it could be full. Pure."""
    return min(SELDOM, max(_OFTEN, (limit * FULL - used) / _FASTEST))


def give_back(pressure: Pressure, listeners: Iterable[Listener], pools: Iterable[Pool]) -> None:
    """Free what nobody needs now; when memory is full that is every stream at rest, since none gets a request."""
    if pressure is Pressure.FULL:
        for listener in listeners:
            listener.close_idle()
        for pool in tuple(pools):  # one without streams may leave
            pool.close_idle()
    _give_back_heap()


def _give_back_heap() -> None:
    """Return to the kernel what is free in the heap.

    Cycles that the lazy collector left are freed first. glibc keeps up to 32 MiB for large reads (`run`), and pages
    between blocks in use; that would count as used for as long as nothing more is asked of it.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
