"""Whether a worker still answers: what of a silence is a sign, and the looks at it. The decision is pure.

A process that is stopped, or whose loop is stuck, keeps its sockets open: nobody but whoever asks it something notices.
So the main process asks each worker from which it has heard nothing since it looked last, and ends one that owes the
answer for too long. Only time counts in which the main process itself ran: where a whole machine is suspended, or has
no CPU to give, nobody is judged by what happened meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.patience import PatientTimer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """The seconds of the heartbeat."""

    # One question and one answer for each worker: some 0.2 ms of CPU time, so 0.04 millicores.
    every: float = 5.0
    # A look that comes later than this says that the main process stood still; what of it was the machine's?
    late: float = 1.0
    # Two looks in a row: so long nobody is served there, and whoever asks for readiness should know.
    silent: float = 10.0
    # As long as gunicorn gives its workers, and a hundred times what any step of the data path takes.
    hung: float = 30.0
    # Until it serves for the first time: imports and thousands of connections on a machine with little CPU.
    begin: float = 120.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """For how many seconds of looks on time a worker has owed an answer; None: it owes none."""

    owing: float | None = None


WELL = Pulse()
ASKED = Pulse(0.0)


def looked(pulse: Pulse, rhythm: Rhythm, *, heard: bool, late: float) -> Pulse:
    """Return what is known of a worker after one more look, which came `late` by so many seconds.

    `heard` tells whether the worker has said anything since the last one. Who is `ASKED` after being `WELL` has to be
    asked now.
    """
    if heard:
        return WELL
    if pulse.owing is None or late > rhythm.late:
        return ASKED
    return Pulse(pulse.owing + rhythm.every)


def is_silent(pulse: Pulse, rhythm: Rhythm) -> bool:
    """Tell whether a worker has not answered for so long that it can't be called ready."""
    return pulse.owing is not None and pulse.owing >= rhythm.silent


def is_hung(pulse: Pulse, rhythm: Rhythm, *, serving: bool) -> bool:
    """Tell whether it has not answered for so long that it will not any more."""
    return pulse.owing is not None and pulse.owing >= (rhythm.hung if serving else rhythm.begin)


class Heartbeat:
    """Calls `look` every so many seconds, and tells it by how many it comes too late."""

    def __init__(self, rhythm: Rhythm, look: Callable[[float], None]) -> None:
        self._every = rhythm.every
        self._look = look
        self._timer: PatientTimer | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; the first look is after the first interval."""
        due = loop.time() + self._every

        def beat() -> None:
            # A patient timer: what was answered while this process stood still has been read by now.
            late = loop.time() - due
            self.start(loop)
            self._look(late)

        self._timer = PatientTimer(loop, self._every, beat)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
