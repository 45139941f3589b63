"""One coarse sweep over the deadlines of all streams, instead of a timer per stream.

A timer started and stopped per request costs about 1 µs, more than routing it; a sweep costs some 50 ns a stream, four
times a second. Deadlines are therefore kept to half a second.

The loop runs timers before it reads sockets. After it stood still, for a busy machine, a long callback or a SIGSTOP,
what everybody waited for may lie there unread while its deadline has passed. So a member is told only of what had
passed at the sweep before: between two sweeps all that had arrived was read, however long they were apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

INTERVAL: Final = 0.25  # seconds
# Members that are told in one turn of the loop. To answer and close a slow client takes 50 to 100 µs: all others would
# feel it where a thousand of them came at once. Each sweep that finds some left tells as many again in each turn.
AT_ONCE: Final = 4
NEVER: Final = float("inf")


class Deadlined(Protocol):
    """Something with a deadline in monotonic seconds, `NEVER` when there is none."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed; set a new one or close."""
        ...


class Sweep:
    """Tells each member once its deadline has passed; tells `late` by how many seconds each sweep came too late."""

    __slots__ = ("_before", "_clock", "_due", "_late", "_loop", "_timer", "members")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._late = late
        self._before = self._due = clock()
        self._timer: asyncio.TimerHandle | None = None
        self.members: set[Deadlined] = set()

    def start(self) -> None:
        """Begin sweeping."""
        self._before = self._clock()
        self._again(self._before)

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _again(self, now: float) -> None:
        self._due = now + INTERVAL
        self._timer = self._loop.call_later(INTERVAL, self._sweep)

    def _sweep(self) -> None:
        now, before, due = self._clock(), self._before, self._due
        self._before = now
        self._again(now)
        self._late(max(now - due, 0.0))
        passed = [member for member in self.members if member.deadline <= before]
        if passed:
            self._tell(passed, before)

    def _tell(self, passed: list[Deadlined], before: float) -> None:
        """Tell some of them, and the others once the loop has done what else there is."""
        for _ in range(min(len(passed), AT_ONCE)):
            member = passed.pop()
            if member.deadline <= before:  # it may have changed since
                member.expired()
        if passed:
            self._loop.call_soon(self._tell, passed, before)
