"""The main process's side of its workers: they are started, begun anew, reloaded, drained, asked what they counted.

A word on length: it is one life with five attributes for each worker, which every step looks at.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar, cast

import structlog

from proxy.patience import Patience
from proxy.runtime.others import Others
from proxy.runtime.workers.board import Board
from proxy.runtime.workers.channel import Channel, pair
from proxy.runtime.workers.child import LONG, pause_after, see_off, started, status_of
from proxy.runtime.workers.codec import packed_authority, packed_definitions
from proxy.runtime.workers.counts import Tally
from proxy.runtime.workers.frames import LARGEST_UP
from proxy.runtime.workers.heartbeat import ASKED, WELL, Heartbeat, Rhythm, is_hung, is_silent, looked
from proxy.runtime.workers.held import sockets_of
from proxy.runtime.workers.inherited import begun_with
from proxy.runtime.workers.known import Known, Stage
from proxy.runtime.workers.publisher import Subscriber
from proxy.runtime.workers.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from proxy.observe.collectors import Gathered
    from proxy.runtime.cgroup import Cgroup
    from proxy.runtime.parts import Assembly
    from proxy.runtime.workers.child import Child
    from proxy.runtime.workers.frames import Message
    from proxy.runtime.workers.held import HeldListener
    from proxy.runtime.workers.publisher import Publisher
    from proxy.runtime.workers.start import MainWorkshop
    from proxy.tokens.watched import WatchedKeeper

T = TypeVar("T")

_SCRAPE: Final = 1.0  # seconds that a scrape waits for a worker; one that is busy for longer shows what it said last
_READY: Final = 30.0  # seconds that a reload waits for a worker to make its parts
_LEAVE: Final = 2.0  # seconds for what takes no time: to cut streams, to change over, to end


class Supervisor(Others):
    """All workers. `program` is the command that runs the product.

    `lock` is the file by which log lines stay whole, `board` the one in which workers see each other.
    """

    def __init__(
        self,
        size: int,
        program: Sequence[str],
        workshop: MainWorkshop,
        assembly: Assembly,
        publisher: Publisher,
        *,
        environ: Mapping[str, str],
        lock: int,
        board: int,
        cgroups: Path,
        cgroup: Cgroup | None,
        rhythm: Rhythm,
    ) -> None:
        self._program = tuple(program)
        self._workshop = workshop
        self._assembly = assembly
        self._publisher = publisher
        self._environ = environ
        self._shared = (lock, board)
        self._board = Board(board, size)
        self._cgroups = cgroups
        self._cgroup = cgroup
        self._packed: Message = {}  # what workers serve by
        self._next: tuple[Message, dict[int, Channel]] = ({}, {})  # what is being prepared, and by whom
        self._own: list[list[object]] = []
        self._workers = [Known(number) for number in range(1, size + 1)]
        self._totals = Totals()
        self._rhythm = rhythm
        self._heartbeat = Heartbeat(rhythm, self._look)
        self._served = self._draining = self._ending = False
        self._burials: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()
        self.gather = self._gather

    @property
    def ready(self) -> bool:
        """Whether every worker serves."""
        return all(worker.is_up(self._rhythm) for worker in self._workers)

    @property
    def has_served(self) -> bool:
        """Whether a worker has accepted streams, or may have, or somebody waits for one that does."""
        listeners = cast("Iterable[HeldListener]", self._assembly.listeners.values())
        return self._served or any(listener.has_callers for listener in listeners)

    @property
    def open_streams(self) -> int:
        """The streams that workers have open, while they leave."""
        return sum(worker.streams for worker in self._workers if worker.stage is Stage.SERVING)

    def guard(self, own: frozenset[tuple[str, int]]) -> None:
        """Let no worker dial these addresses."""
        self._own = [list(at) for at in own]
        self._say({"kind": "own", "at": self._own})

    async def start(self, assembly: Assembly) -> None:
        """Start every worker, and watch the keepers for them."""
        self._numbers(assembly)
        self._packed = self._pack(assembly)
        for worker in self._workers:
            self._begin(worker)
        self._heartbeat.start(asyncio.get_running_loop())

    # One worker

    def _begin(self, worker: Known) -> None:
        worker.again = None
        if self._ending or self._draining:
            return
        ours, theirs = pair()
        worker.began = monotonic()
        worker.started += 1
        worker.stage = Stage.STARTING
        self._board.leave(worker.number)
        worker.pulse, worker.heard = ASKED, False  # it owes the word that it serves
        try:
            worker.process = started(self._program, theirs)
        except OSError as error:
            ours.close()
            self._gone(worker, f"can't be started: {error.strerror}")
            return
        finally:
            theirs.close()
        channel = worker.channel = Channel(ours, files_max=0, largest=LARGEST_UP)
        channel.start(
            asyncio.get_running_loop(), partial(self._hear, worker, channel), partial(self._lost, worker, channel)
        )
        begin = begun_with(self._environ) | {
            "kind": "begin",
            "number": worker.number,
            "of": len(self._workers),
            **self._packed,
            "keepers": self._numbers(self._assembly),
            "own": self._own,
            "tag": self._workshop.tag,
            "cgroups": str(self._cgroups),
        }
        channel.send(begin, [*self._shared, *sockets_of(self._assembly)])
        subscriber = worker.subscriber = Subscriber(self._publisher, channel.send)
        self._publisher.tell_all(subscriber)

    def _hear(self, worker: Known, channel: Channel, message: Message) -> None:
        if channel is not worker.channel:
            return
        worker.heard = True
        try:
            self._take(worker, message)
        except (KeyError, TypeError, ValueError) as error:
            self._log.error("worker", number=worker.number, outcome="not_understood", error=type(error).__name__)
            channel.close()
            self._lost(worker, channel)

    def _take(self, worker: Known, message: Message) -> None:
        match message["kind"]:
            case "serving":
                worker.stage = Stage.SERVING
                self._served = True
                pid = worker.process.pid if worker.process is not None else 0
                self._log.info("worker", number=worker.number, outcome="serving", pid=pid)
                self._tell_processes()
            case "here":
                pass  # that it was heard is all there is to know
            case "prepared":
                _settle(worker.answer, tuple(str(reason) for reason in message["reasons"]))
            case "applied":
                _settle(worker.changed, None)
            case "count":
                worker.tally.take(message)
                if message.get("last"):
                    _settle(worker.counted, None)
            case "streams":
                worker.streams = int(message["open"])
            case "cut":
                worker.streams = 0
                _settle(worker.cut, int(message["streams"]))
            case _ if worker.subscriber is not None:
                worker.subscriber.hear(message)

    def _look(self, late: float) -> None:
        """Ask who has said nothing for a while, and end who does not answer; this look is `late` by so many seconds."""
        for worker in self._workers:
            if worker.stage is Stage.GONE or worker.channel is None or worker.process is None:
                continue
            before, was_silent = worker.pulse, is_silent(worker.pulse, self._rhythm)
            worker.pulse = pulse = looked(before, self._rhythm, heard=worker.heard, late=late)
            worker.heard = False
            serving = worker.stage is Stage.SERVING
            if before == WELL and pulse == ASKED:
                worker.channel.send({"kind": "ask"})
            if is_hung(pulse, self._rhythm, serving=serving):
                self._tell(worker, "hung", seconds=pulse.owing)
                worker.stage = Stage.GONE
                worker.process.kill()  # what it had said before is read, then the end of the socket pair
            elif serving and is_silent(pulse, self._rhythm) != was_silent:
                self._tell(worker, "answers" if was_silent else "silent")
                if not was_silent:
                    self._board.leave(worker.number)  # until it accepts again

    def _tell(self, worker: Known, outcome: str, **more: object) -> None:
        pid = worker.process.pid if worker.process is not None else 0
        self._log.warning("worker", number=worker.number, outcome=outcome, pid=pid, **more)

    def _lost(self, worker: Known, channel: Channel) -> None:
        """The socket pair is at its end: so is the process, or it will be."""
        if channel is not worker.channel or worker.process is None:
            return
        process, worker.process = worker.process, None
        if self._ending:
            return
        burial = self._bury(worker, process)
        task = asyncio.get_running_loop().create_task(burial, name=f"end of worker {worker.number}")
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)
        worker.channel = None
        worker.stage = Stage.GONE
        self._board.leave(worker.number)
        worker.streams = 0
        if worker.subscriber is not None:
            worker.subscriber.close()
            worker.subscriber = None
        _settle(worker.answer, ())
        _settle(worker.changed, None)
        _settle(worker.counted, None)
        _settle(worker.cut, 0)
        self._totals.keep(worker.tally)
        worker.cpu_before += worker.tally.machine.cpu
        worker.tally = Tally()

    async def _bury(self, worker: Known, process: Child) -> None:
        process.kill()
        status = await asyncio.to_thread(status_of, process)
        if not self._ending:
            self._gone(worker, status)

    def _gone(self, worker: Known, status: str) -> None:
        worker.stage = Stage.GONE
        worker.ends = 1 if monotonic() - worker.began > LONG else worker.ends + 1
        pause = pause_after(worker.ends)
        if self._draining:
            self._log.warning("worker", number=worker.number, outcome="ended", status=status)
            return
        self._log.warning("worker", number=worker.number, outcome="ended", status=status, again_in=pause)
        worker.again = asyncio.get_running_loop().call_later(pause, self._begin, worker)

    # Reload

    async def agree(self, assembly: Assembly) -> tuple[str, ...]:
        """Have every worker that serves make the parts; return why one of them can't."""
        packed = await asyncio.to_thread(self._pack, assembly)
        message = {"kind": "prepare", **packed, "keepers": self._numbers(assembly)}
        sockets = sockets_of(assembly)
        loop = asyncio.get_running_loop()
        answers = []
        self._next = (packed, {})
        for worker in self._serving():
            worker.answer = loop.create_future()
            answers.append(worker.answer)
            if worker.channel is not None:
                self._next[1][worker.number] = worker.channel
                worker.channel.send(message, sockets)
        try:
            async with Patience(_READY):
                return next((reasons for reasons in await asyncio.gather(*answers) if reasons), ())
        except TimeoutError:
            return ("worker_timeout: a worker was not ready in time",)

    def commit(self, assembly: Assembly) -> None:
        """Have all workers go on with the parts that they made; who is just beginning begins once more."""
        self._assembly = assembly
        self._packed, prepared = self._next
        self._totals.retain(assembly.parts)
        for worker in self._workers:
            if worker.channel is None:
                continue
            if worker.channel is prepared.get(worker.number):
                worker.changed = asyncio.get_running_loop().create_future()
                worker.channel.send({"kind": "commit"})
            elif worker.process is not None:
                worker.process.kill()

    async def applied(self) -> None:
        """Wait until every worker serves by what was committed; one that stands still is waited for no longer."""
        changes = [worker.changed for worker in self._workers if worker.changed is not None]
        if changes:
            await asyncio.wait(changes, timeout=_LEAVE)

    def abandon(self) -> None:
        """Have the workers forget what they made."""
        self._say({"kind": "abandon"})

    # Stop

    def drain(self) -> None:
        """Let each response be the last one of its stream."""
        self._draining = True
        self._say({"kind": "drain"})

    def leave(self) -> None:
        """Let no worker accept any more; each tells how many streams it still has."""
        for worker in self._workers:
            worker.streams = 1  # nobody knows yet
        self._say({"kind": "leave"})

    async def cut(self) -> int:
        """Cut all streams of the workers; return how many there were."""
        loop = asyncio.get_running_loop()
        answers = []
        for worker in self._serving():
            worker.cut = loop.create_future()
            answers.append(worker.cut)
        self._say({"kind": "cut"})
        if not answers:
            return 0
        done, _ = await asyncio.wait(answers, timeout=_LEAVE)
        return sum(future.result() for future in done)

    async def close(self) -> None:
        """End every worker; who does not end by itself is killed."""
        self._ending = True
        self._heartbeat.stop()
        self._say({"kind": "end"})
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for worker in self._workers:
            if worker.again is not None:
                worker.again.cancel()
            if worker.stage is not Stage.SERVING and worker.process is not None:
                worker.process.kill()
        until = monotonic() + _LEAVE
        await asyncio.gather(*(asyncio.to_thread(see_off, process, until) for process in processes), *self._burials)
        for worker in self._workers:
            if worker.subscriber is not None:
                worker.subscriber.close()
            if worker.channel is not None:
                worker.channel.close()

    # What they have counted

    async def _gather(self, own: Gathered) -> Gathered:
        loop = asyncio.get_running_loop()
        asked = []
        for worker in self._serving():
            if worker.channel is None:
                continue
            if worker.counted is None or worker.counted.done():
                worker.counted = loop.create_future()
                worker.channel.send({"kind": "count"})
            if not worker.is_silent(self._rhythm):
                asked.append(worker.counted)
        if asked:
            await asyncio.wait(asked, timeout=_SCRAPE)
        alive = [worker.tally for worker in self._workers if worker.channel is not None]
        return self._totals.sum(own, alive, [worker.view(self._rhythm) for worker in self._workers])

    def _serving(self) -> Iterator[Known]:
        return (worker for worker in self._workers if worker.stage is Stage.SERVING)

    def _say(self, message: Message) -> None:
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.send(message)

    def _tell_processes(self) -> None:
        """Let all know whose memory is ours."""
        numbers = [os.getpid(), *(worker.process.pid for worker in self._workers if worker.process is not None)]
        if self._cgroup is not None:
            self._cgroup.count_as_ours(numbers)
        self._say({"kind": "processes", "ids": numbers})

    def _pack(self, assembly: Assembly) -> Message:
        opened = self._workshop.opened
        if opened is None:
            authority = None
        else:
            from proxy.ca.authority import parts  # with interception alone

            authority = parts(opened)
        return {
            "definitions": packed_definitions(assembly.definitions),
            "authority": packed_authority(authority),
        }

    def _numbers(self, assembly: Assembly) -> dict[str, int]:
        return {
            name: self._publisher.number(cast("WatchedKeeper", part.keeper))
            for name, part in assembly.parts.items()
            if part.keeper is not None
        }


def _settle(future: asyncio.Future[T] | None, outcome: T) -> None:
    if future is not None and not future.done():
        future.set_result(outcome)
