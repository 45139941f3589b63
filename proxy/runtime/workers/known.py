"""One worker as the main process knows it: what it is, what is said to it, and what it said."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from proxy.observe.collectors import WorkerView
from proxy.runtime.workers.counts import Tally
from proxy.runtime.workers.heartbeat import WELL, Pulse, Rhythm, is_silent

if TYPE_CHECKING:
    import asyncio

    from proxy.runtime.workers.channel import Channel
    from proxy.runtime.workers.child import Child
    from proxy.runtime.workers.publisher import Subscriber


class Stage(Enum):
    """How far a worker has come."""

    GONE = "gone"
    STARTING = "starting"
    SERVING = "serving"


@dataclass(slots=True)
class Known:
    """One worker: its process, the stream to it, what it owes. `ends` counts how often it ended early."""

    number: int
    stage: Stage = Stage.GONE
    process: Child | None = None
    channel: Channel | None = None
    subscriber: Subscriber | None = None
    began: float = 0.0
    started: int = 0
    ends: int = 0
    pulse: Pulse = WELL
    heard: bool = False  # since it was looked at last
    streams: int = 0
    tally: Tally = field(default_factory=Tally)
    cpu_before: float = 0.0
    answer: asyncio.Future[tuple[str, ...]] | None = None
    changed: asyncio.Future[None] | None = None
    counted: asyncio.Future[None] | None = None
    cut: asyncio.Future[int] | None = None
    again: asyncio.TimerHandle | None = None

    def is_silent(self, rhythm: Rhythm) -> bool:
        """Whether it has not answered for long, and not since."""
        return not self.heard and is_silent(self.pulse, rhythm)

    def is_up(self, rhythm: Rhythm) -> bool:
        """Whether it serves, as far as anybody knows."""
        return self.stage is Stage.SERVING and not self.is_silent(rhythm)

    def view(self, rhythm: Rhythm) -> WorkerView:
        """Return what operators see of it."""
        machine = self.tally.machine
        return WorkerView(
            self.number,
            self.is_up(rhythm),
            self.started,
            machine.resident,
            self.cpu_before + machine.cpu,
            machine.files,
        )
