"""Mutants over real sockets: the product in a process of its own, raw clients, raw upstreams, many streams at a time.

Each worker has connections and upstreams of its own, so that what an upstream hears belongs to the mutant that is under
way there; the process, its pools and its memos are shared by all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz import mutators, poisoned, verdict
from tests.fuzz.answering import Answering
from tests.fuzz.campaign import Mutant, Tally, Violation, judged
from tests.fuzz.memory import PORTS, RULES
from tests.fuzz.poison import MARK
from tests.fuzz.verdict import Heard, Outcome
from tests.support.deadline import awaiting
from tests.support.process import Process
from tests.support.stage import SECRET, TokenEndpoint
from tests.support.upstream import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.fuzz.campaign import Poison
    from tests.fuzz.node import Node
    from tests.fuzz.verdict import Shown

WORKERS: Final = 12
_PATIENCE: Final = 45.0  # seconds that a mutant may take on a busy machine
_BATCH: Final = 200


class _Client(asyncio.Protocol):
    """A client that takes what comes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = asyncio.Event()
        self.was_reset = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.was_reset = error is not None
        self.ended.set()


class _Stream(asyncio.Protocol):
    """One stream that the proxy opened to an upstream."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._answering = Answering(server.worker.numbers)
        self._poisoned: asyncio.Task[None] | None = None
        self.received = bytearray()
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.received:
            self._server.worker.used.append(self)
        self.received += data
        armed = self._server.worker.armed
        if armed is not None and MARK in data.partition(b"\r\n")[0]:
            self._server.worker.armed = None
            self._poisoned = asyncio.create_task(poisoned.answer(armed, self.transport), name="a hostile upstream")
        if self._poisoned is not None and not data.startswith(b"GET /afterwards "):
            return  # the head, or the body, of the request that the mutant answers
        answers = self._answering.take(data)
        if answers:
            self.transport.write(answers)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self._server.streams.discard(self)
        self._server.worker.changed.set()

    @property
    def rests(self) -> bool:
        """Whether no request is under way on it."""
        return self.ended or self._answering.rests

    @property
    def name(self) -> str:
        return self._server.name


class _Server:
    """The upstream of one connection."""

    def __init__(self, worker: Worker, name: str) -> None:
        self.worker = worker
        self.name = name
        self.listening = listen()
        self.port: int = self.listening.getsockname()[1]
        self.streams: set[_Stream] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._made, sock=self.listening)

    def _made(self) -> _Stream:
        stream = _Stream(self)
        self.streams.add(stream)
        return stream

    def end_streams(self) -> None:
        for stream in tuple(self.streams):
            stream.transport.abort()

    def close(self) -> None:
        self.end_streams()
        if self._server is not None:
            self._server.close()
        self.listening.close()


class Worker:
    """One client with two connections of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.numbers: list[int] = []
        self.used: list[_Stream] = []
        self.armed: Poison | None = None  # what answers the next request that asks for it
        self.changed = asyncio.Event()
        far = hashlib.sha256(b"%d" % number).hexdigest()[:6]  # no spoilt name of one worker is that of another
        self.servers = {name: _Server(self, name) for name in (f"a{far}", f"b{far}")}
        self.ports = frozenset(b":%d" % server.port for server in self.servers.values())
        self.hosts = {name: b"127.0.0.1:%d" % server.port for name, server in self.servers.items()}

    def own(self, data: bytes) -> bytes:
        """Return requests of the corpus as requests to this worker's connections."""
        for (letter, port), (name, server) in zip(PORTS.items(), self.servers.items(), strict=True):
            data = data.replace(b"/%b/" % letter.encode(), b"/%b/" % name.encode())
            data = data.replace(b"127.0.0.1:%d" % port, b"127.0.0.1:%d" % server.port)
        return data

    async def send(self, mutant: Mutant, address: tuple[str, int]) -> Outcome:
        """Send its pieces, then FIN, and read until the end."""
        self.numbers.clear()
        self.used.clear()
        transport, client = await asyncio.get_running_loop().create_connection(_Client, *address)
        try:
            for piece in mutant.pieces:
                if transport.is_closing():
                    break
                transport.write(piece)
                await asyncio.sleep(0)
            if not transport.is_closing():
                with suppress(OSError):  # it was reset, and the loop has not come to it
                    transport.write_eof()
            async with awaiting("the end of the client's stream", _PATIENCE):
                await client.ended.wait()
        finally:
            transport.abort()
        await self._at_rest()
        heard = tuple(Heard(stream.name, bytes(stream.received), stream.ended) for stream in self.used)
        for stream in self.used:
            stream.received.clear()
        return Outcome(
            b"".join(mutant.pieces), heard, tuple(self.numbers), bytes(client.received), self.hosts, client.was_reset
        )

    def end_streams(self) -> None:
        """Let go of every stream that the product keeps."""
        for server in self.servers.values():
            server.end_streams()

    async def _at_rest(self) -> None:
        """Wait until no upstream has half a request: it is whole, or its stream has ended."""
        async with awaiting("upstreams at rest", _PATIENCE):
            while not all(stream.rests for stream in self.used):
                self.changed.clear()
                await self.changed.wait()


class Crew:
    """The process, the workers, and what they have found so far."""

    def __init__(self, process: Process, workers: list[Worker]) -> None:
        self.process = process
        self.workers = workers
        self.tally = Tally()
        self._batch: list[tuple[Mutant, Shown]] = []
        self._ports = frozenset[bytes]().union(*(worker.ports for worker in workers))

    async def run(self, node: Node | None, mutants: int, seed: int, first: int = 0) -> None:
        """Have every worker send its share."""
        numbers = iter(range(first, first + mutants))
        await asyncio.gather(*(self._work(worker, node, numbers, seed) for worker in self.workers))
        await self._ask(node)

    async def _work(self, worker: Worker, node: Node | None, numbers: Iterator[int], seed: int) -> None:
        for number in numbers:
            source = random.Random(f"sockets-{seed}-{number}")
            door = "forward" if number % 4 == 3 else "reverse"
            made = mutators.requests(source, door, own=worker.own)
            if any(port in made for port in self._ports - worker.ports):
                continue  # by chance it names the upstream of another worker
            mutant = Mutant(door, mutators.cuts(source, made))
            try:
                outcome = await worker.send(mutant, self.process.listening[door][0])
            except AssertionError as error:  # it took too long
                self.tally.violations.append(Violation(mutant, (str(error),)))
                continue
            faults, shown = judged(self.tally, outcome)
            if faults:
                self.tally.violations.append(Violation(mutant, tuple(faults)))
            self._batch += ((mutant, each) for each in shown)
            if len(self._batch) >= _BATCH:
                await self._ask(node)

    async def _ask(self, node: Node | None) -> None:
        batch, self._batch = self._batch, []
        if node is not None and batch:
            readings = await node.requests([shown.data for _, shown in batch])
            for (mutant, shown), reading in zip(batch, readings, strict=True):
                if faults := verdict.of_node([shown], [reading]):
                    self.tally.violations.append(Violation(mutant, tuple(faults)))


@asynccontextmanager
async def crew(folder: Path, size: int = WORKERS) -> AsyncIterator[Crew]:
    """Have the process, its token endpoint and so many workers run for the block."""
    tokens = TokenEndpoint()
    await tokens.start()
    workers = [Worker(number) for number in range(size)]
    servers = [server for worker in workers for server in worker.servers.values()]
    for server in servers:
        await server.start()
    process = await Process.start(_definitions(servers, tokens), folder, {"CLIENT_SECRET": SECRET})
    try:
        await process.until_listening("reverse", "forward", "admin")
        yield Crew(process, workers)
    finally:
        await process.stop()
        for server in servers:
            server.close()
        await tokens.close()
    process.assert_clean()


def _definitions(servers: list[_Server], tokens: TokenEndpoint) -> dict[str, Any]:
    return {
        "listeners": {
            "reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"},
            "forward": {"bind": "127.0.0.1:0", "unclaimed": "reject", "claimed_connect": "reject"},
        },
        "log": {"access": False},
        "shutdown": {"drain_delay": "10ms", "grace": "2s"},
        "connections": {
            server.name: {
                "base_url": f"http://127.0.0.1:{server.port}",
                "auth_errors": RULES,
                "iclient": {
                    "grant_type": "client_credentials", "token_url": tokens.url, "client_id": server.name,
                    "client_secret": {"env": "CLIENT_SECRET"}, "valid_domains": [tokens.authority],
                    "allow_insecure": True,
                },
            }
            for server in servers
        },
    }  # fmt: skip
