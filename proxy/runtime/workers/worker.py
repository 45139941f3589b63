"""A worker: serves the whole data path by the definitions, sockets and tokens that the main process hands it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from proxy.clock import SystemClock
from proxy.definitions.load import Loaded
from proxy.errors import MachineError
from proxy.observe.logging import configure
from proxy.observe.traces import spans
from proxy.outbound.resolve import Resolver
from proxy.runtime.assemble import Workshop
from proxy.runtime.cgroup import open_cgroup
from proxy.runtime.doors import doors
from proxy.runtime.environment import forget
from proxy.runtime.keepers import policy_of
from proxy.runtime.machine import keep_large_blocks, new_loop, raise_descriptor_limit, settle_heap
from proxy.runtime.memory import MemoryWatch, give_back
from proxy.runtime.reload import Applied, Rejected, reload
from proxy.runtime.shares import share_of
from proxy.runtime.workers.accepting import Place
from proxy.runtime.workers.board import Board
from proxy.runtime.workers.channel import FILES_MAX, Channel, end_of
from proxy.runtime.workers.codec import unpacked_authority, unpacked_definitions
from proxy.runtime.workers.copies import Copies
from proxy.runtime.workers.counts import Machine, messages
from proxy.runtime.workers.frames import LARGEST_DOWN
from proxy.runtime.workers.held import GivenListener, socket_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Mapping

    from proxy.ca.authority import Authority
    from proxy.definitions.models import Connection, Definitions
    from proxy.definitions.settings import AuthorityFiles
    from proxy.exchange.pressure import Pressure
    from proxy.exchange.record import Recorder
    from proxy.exchange.traced import Sampler
    from proxy.inbound.listener import Listener
    from proxy.observe.logging import Logs
    from proxy.runtime.cgroup import Cgroup
    from proxy.runtime.doors import Door, Key
    from proxy.runtime.parts import Assembly, Part, Tokens
    from proxy.runtime.workers.frames import Message
    from proxy.secret import Secret
    from proxy.tokens.keeper import Keeper

_LOOK: Final = 0.05  # seconds between looks at how many streams are left
_TIDY: Final = 0.5  # seconds after a reload by which most of what it retired has ended
_STATM: Final = Path("/proc/self/statm")
_FILES: Final = Path("/proc/self/fd")


class WorkerWorkshop(Workshop):
    """Makes parts whose tokens are copies, and listeners that accept from sockets which came with the definitions."""

    listener_class = GivenListener
    copies: Copies
    place: Place
    numbers: dict[str, int]
    sockets: dict[Key, socket.socket]
    authority_parts: tuple[str, Secret] | None

    def provide(self, definitions: Definitions, message: Message, files: list[int]) -> None:
        """Have ready what the parts of these definitions need.

        The message has the numbers of keepers and the local authority, and there is a file for each door.
        """
        self.forget_sockets()
        self.numbers = message["keepers"]
        self.authority_parts = unpacked_authority(message["authority"])
        self.sockets = {door.key: socket_of(file) for door, file in zip(doors(definitions), files, strict=True)}

    def forget_sockets(self) -> None:
        """Close what no listener has taken."""
        for sock in self.sockets.values():
            sock.close()
        self.sockets = {}

    def listener(self, door: Door, parts: Mapping[str, Part]) -> Listener:
        """Build the listener of one door, with its socket."""
        made = super().listener(door, parts)
        if isinstance(made, GivenListener):
            made.given, made.place = self.sockets.pop(door.key), self.place
        return made

    def _read_authority(self, files: AuthorityFiles) -> Authority:
        """Take what the main process has read: it alone opens sealed keys, and all have the same one."""
        from proxy.ca import authority

        if self.authority_parts is None:
            raise AssertionError("interception without an authority")
        return authority.of(*self.authority_parts)

    def _keeper(self, connection: Connection, spread: float, before: Keeper | None) -> None:
        """The keeper is the main process's."""

    def _tokens(self, connection: Connection, keeper: Keeper | None) -> Tokens | None:
        if connection.iclient is None:
            return None
        return self.copies.of(self.numbers[connection.name], policy_of(connection.iclient, self._limits))


def work(number: int) -> int:
    """Serve, with the socket pair as file descriptor `number`; returns the exit status.

    Raises `MachineError` where it is none.
    """
    try:
        end = end_of(number)
    except OSError as error:
        raise MachineError("worker", f"file descriptor {number} is no socket: {error.strerror}") from error
    raise_descriptor_limit()
    keep_large_blocks()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_work(Channel(end, files_max=FILES_MAX, largest=LARGEST_DOWN)))
    return 0


async def _work(channel: Channel) -> None:
    """Wait for the first message, and be what it says."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[Message | None] = loop.create_future()
    rest: list[Message] = []

    def hear(message: Message) -> None:
        if begun.done():
            rest.append(message)
        else:
            begun.set_result(message)

    channel.start(loop, hear, lambda: None if begun.done() else begun.set_result(None))
    begin = await begun
    if begin is None:
        return
    lock, board, *files = channel.files()
    clock = SystemClock()
    definitions = unpacked_definitions(begin["definitions"])
    logs = configure(
        definitions.log, clock, colours=not os.environ.get("NO_COLOR"), lock=lock, worker=int(begin["number"])
    )
    os.environ.update(begin["tracing"])  # where OpenTelemetry's SDK looks
    try:
        with spans(begin["tracing"], clock, logs.access) as sent:
            forget(begin["headers"], os.environ)
            recorder = logs.access if sent is None else sent
            place = Place(Board(board, int(begin["of"])), int(begin["number"]))
            os.close(board)
            worker = Worker(channel, begin, definitions, files, place, clock, recorder, sent, logs)
            channel.start(loop, worker.hear, worker.end)
            for message in rest:
                worker.hear(message)
            await worker.run()
    finally:
        logs.close()


class Worker:
    """One worker from its first message to its end."""

    def __init__(
        self,
        channel: Channel,
        begin: Message,
        definitions: Definitions,
        files: list[int],
        place: Place,
        clock: SystemClock,
        recorder: Recorder | None,
        sampler: Sampler | None,
        logs: Logs,
    ) -> None:
        self._channel = channel
        self._logs = logs
        self._cgroup: Cgroup | None = open_cgroup(Path(begin["cgroups"]))
        limit = self._cgroup.limit() if self._cgroup is not None else None
        definitions = replace(definitions, limits=share_of(definitions.limits, int(begin["of"]), limit))
        workshop = self._workshop = WorkerWorkshop(
            definitions,
            clock=clock,
            entropy=random.SystemRandom(),
            recorder=recorder,
            sampler=sampler,
            resolver=Resolver(),
            api_server=begin["api_server"],
            memory_limit=limit,
            tag=begin["tag"],
        )
        self._copies = workshop.copies = Copies(channel.send, clock)
        workshop.place, workshop.sockets = place, {}
        workshop.provide(definitions, begin, files)
        self._own = _addresses(begin["own"])
        self._assembly: Assembly = workshop.assemble(definitions, spread=0.0)
        self._leaving: list[Listener] = []
        self._decision: asyncio.Future[bool] | None = None
        self._reloading = asyncio.Lock()
        self._ended = asyncio.Event()
        self._left = False  # perhaps before it has begun
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Serve until the main process says so, or ends."""
        workshop = self._workshop
        workshop.sweep.start()
        memory = MemoryWatch(self._cgroup, workshop.surroundings, self._give_back) if self._cgroup is not None else None
        if memory is not None:
            memory.start()
        for listener in self._assembly.listeners.values() if not self._left else ():
            await listener.start()
        self._guard()
        settle_heap()
        self._channel.send({"kind": "serving"})
        await self._ended.wait()
        for listener in self._listeners():
            listener.stop_accepting()
            listener.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if memory is not None:
            memory.stop()
        for pool in workshop.stream_limit.pools[:]:
            await pool.close()
        await workshop.close()
        workshop.sweep.stop()
        self._channel.close()

    def end(self) -> None:
        """End now."""
        self._ended.set()

    def hear(self, message: Message) -> None:
        """Do what the main process says."""
        match message["kind"]:
            case "life" | "token" | "none":
                self._copies.hear(message)
            case "own":
                self._own = _addresses(message["at"])
                self._guard()
            case "processes":
                if self._cgroup is not None:
                    self._cgroup.count_as_ours(message["ids"])
            case "ask" | "count":
                self._answer(message["kind"])
            case "prepare":
                files, decision = self._channel.files(), asyncio.get_running_loop().create_future()
                self._decision = decision
                self._do("reload", lambda: self._reload(message, files, decision))
            case "commit" | "abandon":
                if self._decision is not None and not self._decision.done():
                    self._decision.set_result(message["kind"] == "commit")
            case "drain":
                self._workshop.surroundings.drain()
            case "leave":
                self._left = True
                for listener in self._listeners():
                    listener.stop_accepting()
                    listener.close_idle()
                self._do("streams", self._tell_streams)
            case "cut":
                self._channel.send({"kind": "cut", "streams": self._open_streams()})
                for listener in self._listeners():
                    listener.abort()
            case "end":
                self.end()

    def _answer(self, asked: str) -> None:
        if asked == "ask":
            self._channel.send({"kind": "here"})
        else:
            self._do("count", self._count)

    async def _count(self) -> None:
        self._workshop.surroundings.count()
        parts = self._assembly.parts.values()
        counters = [self._workshop.surroundings.unmatched, *(part.plan.counters for part in parts)]
        for message in messages(self._workshop.surroundings.counters, counters, self._machine()):
            self._channel.send(message)
            await asyncio.sleep(0)

    async def _tell_streams(self) -> None:
        said = -1
        while said != 0:
            count = self._open_streams()
            if count != said:
                self._channel.send({"kind": "streams", "open": count})
                said = count
            await asyncio.sleep(_LOOK)

    async def _reload(self, message: Message, files: list[int], decision: asyncio.Future[bool]) -> None:
        async with self._reloading:  # one that nobody waits for any more may not have ended yet
            await self._reload_once(message, files, decision)

    async def _reload_once(self, message: Message, files: list[int], decision: asyncio.Future[bool]) -> None:
        async def agree(_assembly: Assembly) -> tuple[str, ...]:
            self._channel.send({"kind": "prepared", "reasons": []})
            return () if await decision else ("abandoned: others could not",)

        try:
            definitions = await asyncio.to_thread(unpacked_definitions, message["definitions"])
            self._workshop.provide(definitions, message, files)
            outcome = await reload(self._assembly, self._workshop, lambda: Loaded(definitions), agreed=agree)
        except Exception:  # noqa: BLE001 a mistake of ours must not end what serves
            self._log.exception("reload_failed")
            outcome = Rejected(("internal_error: the log says why",))
        self._workshop.forget_sockets()
        match outcome:
            case Applied():
                self._applied(outcome)
                self._channel.send({"kind": "applied"})
            case Rejected(reasons=reasons) if not decision.done():
                self._channel.send({"kind": "prepared", "reasons": list(reasons)})
            case _:
                pass

    def _applied(self, outcome: Applied) -> None:
        self._assembly = outcome.assembly
        self._guard()
        for part in outcome.retired:
            part.retire_streams()
        if outcome.retired:
            asyncio.get_running_loop().call_later(_TIDY, gc.collect)
        for listener in outcome.left:
            listener.retire()
        self._leaving = [each for each in (*self._leaving, *outcome.left) if each.open_streams]

    def _guard(self) -> None:
        self._workshop.guard(self._assembly.definitions, self._own)

    def _give_back(self, pressure: Pressure) -> None:
        give_back(pressure, self._listeners(), self._workshop.stream_limit.pools)

    def _machine(self) -> Machine:
        try:
            resident = int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files = len(os.listdir(_FILES))  # noqa: PTH208
        except OSError:  # not Linux, or no file is left
            resident = files = 0
        return Machine(resident, time.process_time(), files, self._logs.sink.dropped)

    def _listeners(self) -> list[Listener]:
        return [*self._assembly.listeners.values(), *self._leaving]

    def _open_streams(self) -> int:
        return sum(listener.open_streams for listener in self._listeners())

    def _do(self, name: str, work: Callable[[], Coroutine[object, object, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _addresses(listed: list[list[object]]) -> frozenset[tuple[str, int]]:
    return frozenset((str(host), int(str(port))) for host, port in listed)
