"""The product without sockets: real listeners, exchanges, keepers, pools and streams over transports in memory.

Nothing of the data path is replaced but the kernel. What would be a packet is an entry of a queue, so that no callback
runs within another one, and a mutant costs a tenth of what it costs over sockets. The token endpoint is a real one.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.inbound.connection import Downstream
from proxy.outbound.resolve import Resolver
from proxy.runtime.assemble import Workshop
from tests.fuzz.verdict import Heard
from tests.support.deadline import eventually
from tests.support.stage import SECRET, TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from proxy.inbound.listener import Listener

PORTS: Final = {"a": 4001, "b": 4002}
HOSTS: Final = {name: b"127.0.0.1:%d" % port for name, port in PORTS.items()}
LISTENS: Final = ("127.0.0.1", 4000)
_FORWARD: Final = {"bind": "127.0.0.1:0", "unclaimed": "reject", "claimed_connect": "reject"}
# No response of a mutant costs a token, but some have to be held back and read.
RULES: Final = [
    {"name": "never", "status": 498},
    {"name": "read", "status": [404, 413], "path": "error.code", "values": ["DEAD"]},
]
_TURNS: Final = 2000  # of the loop, within which a dial or a token has come


class MemoryTransport(asyncio.Transport):
    """One end of a stream, as a protocol of the product sees it; `other` takes what it writes."""

    def __init__(self, world: World, other: Other, extra: Mapping[str, object]) -> None:
        super().__init__(dict(extra))
        self._world = world
        self._other = other
        self._protocol: asyncio.BufferedProtocol | None = None
        self._paused = False
        self._held: list[bytes | None] = []
        self._closing = False
        self.end = ""  # "", "closed" or "aborted" by the product
        self.fin = False  # the product has half-closed it

    # What the product calls

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.BufferedProtocol", protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if data and not self._closing and not self.fin:
            self._world.later(self._other.take, bytes(data))

    def write_eof(self) -> None:
        self.fin = True

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._world.later(self._deliver, data)

    def close(self) -> None:
        self._ends("closed")

    def abort(self) -> None:
        self._ends("aborted")

    def _ends(self, how: str) -> None:
        if not self._closing:
            self._closing = True
            self.end = how
            self._world.later(self._lose, None)

    # What the other end does

    def deliver(self, data: bytes) -> None:
        """Have these bytes arrive, in a turn of their own."""
        self._world.later(self._deliver, data)

    def deliver_eof(self) -> None:
        """Have a FIN arrive."""
        self._world.later(self._deliver, None)

    def lose(self) -> None:
        """Have a reset arrive."""
        self._world.later(self._lose, ConnectionResetError())

    def _deliver(self, data: bytes | None) -> None:
        if self._closing or self._protocol is None:
            return
        if self._paused:
            self._held.append(data)
        elif data is not None:
            self._fill(self._protocol, data)
        elif not self._protocol.eof_received():
            self.close()

    @staticmethod
    def _fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        """Read as a loop does, into the buffer of the protocol."""
        while data:
            buffer = protocol.get_buffer(len(data))
            size = min(len(buffer), len(data))
            memoryview(buffer)[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)


class Other:
    """The far end of a stream: keeps what arrives."""

    transport: MemoryTransport

    def __init__(self) -> None:
        self.received = bytearray()

    def take(self, data: bytes) -> None:
        self.received += data


class Server(Other):
    """An upstream's end; `world.serve` is told of what arrives. `begun` is when it was first used, for the order."""

    def __init__(self, world: World, port: int) -> None:
        super().__init__()
        self.world = world
        self.port = port
        self.begun = -1
        self.memo: Any = None  # whoever serves may keep something here

    def take(self, data: bytes) -> None:
        if self.begun < 0:
            self.world.used += 1
            self.begun = self.world.used
        super().take(data)
        self.world.serve(self, data)


class _Way:
    """How streams leave: to a server in memory."""

    to = "an upstream in memory"

    def __init__(self, world: World) -> None:
        self._world = world

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        return (host,)

    async def open(self, protocol: Callable[[], Any], address: str, host: str, port: int) -> tuple[Any, Any]:
        made = protocol()
        server = Server(self._world, port)
        transport = server.transport = MemoryTransport(self._world, server, {"socket": self._world.quiet})
        transport.set_protocol(made)
        self._world.servers.append(server)
        made.connection_made(transport)
        return transport, made


class _InMemory(Workshop):
    """The product's own workshop, with another way out."""

    def __init__(self, way: _Way, *words: Any, **named: Any) -> None:
        self._out = way
        super().__init__(*words, **named)

    def _way(self, *, claimed: bool) -> Any:
        return self._out


def _silent(server: Server, data: bytes) -> None:
    """Answer nothing."""


class World:
    """The queue of what happens, the servers, and the proxy between them."""

    def __init__(self, quiet: socket.socket) -> None:
        self.quiet = quiet  # a socket on which nothing ever happens, for whoever asks the kernel
        self.servers: list[Server] = []
        self.serve: Callable[[Server, bytes], None] = _silent
        self.used = 0
        self.listeners: dict[str, Listener] = {}
        self._queue: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    def later(self, call: Callable[[Any], None], what: Any) -> None:
        """Do it in a turn of its own."""
        self._queue.append((call, what))

    def made_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **words: Any) -> asyncio.Task[Any]:
        """Make a task and know of it."""
        task = asyncio.Task(coroutine, loop=loop, **words)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Let everything happen until nothing is left to do."""
        queue = self._queue
        for _ in range(_TURNS):
            while queue:
                call, what = queue.popleft()
                call(what)
            if not self._tasks or not any(task.get_name().startswith(("dial", "token")) for task in self._tasks):
                return
            await asyncio.sleep(0)
        raise AssertionError("a dial or a token does not come")

    def connect(self, door: str = "reverse") -> tuple[Other, MemoryTransport]:
        """Open a client's stream."""
        listener = self.listeners[door]
        client = Other()
        transport = client.transport = MemoryTransport(self, client, {"sockname": LISTENS})
        stream = Downstream(listener)
        transport.set_protocol(stream)
        stream.connection_made(transport)
        return client, transport

    def heard(self) -> tuple[Heard, ...]:
        """Return what the servers got since the last time; streams that were given up are forgotten."""
        used = sorted((server for server in self.servers if server.received), key=lambda server: server.begun)
        names = {port: name for name, port in PORTS.items()}
        found = tuple(Heard(names[each.port], bytes(each.received), bool(each.transport.end)) for each in used)
        for server in used:
            server.received.clear()
            server.begun = -1
        self.servers = [server for server in self.servers if not server.transport.end]
        return found

    async def forget_streams(self) -> None:
        """Reset every upstream stream."""
        for server in self.servers:
            server.transport.lose()
        await self.settle()
        self.heard()
        self.servers.clear()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Assemble the proxy and have its tokens ready."""
    tokens = TokenEndpoint()
    await tokens.start()
    quiet, other = socket.socketpair()
    loop = asyncio.get_running_loop()
    made = World(quiet)
    definitions = {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "forward": _FORWARD},
        "connections": {name: _connection(name, tokens) for name in PORTS},
    }
    file = folder / "definitions.yaml"
    file.write_text(json.dumps(definitions))
    clock = SystemClock()
    loaded = load([file], {"CLIENT_SECRET": SECRET}, clock).definitions
    workshop = _InMemory(
        _Way(made), loaded, clock=clock, entropy=random.SystemRandom(), recorder=None, resolver=Resolver()
    )
    assembly = workshop.assemble(loaded, spread=0.0)
    made.listeners = {listener.name: listener for listener in assembly.listeners.values()}
    keepers = [part.keeper for part in assembly.parts.values() if part.keeper is not None]
    try:
        for keeper in keepers:
            keeper.start()
        await eventually("the tokens", lambda: all(keeper.take() is not None for keeper in keepers))
        loop.set_task_factory(made.made_task)
        yield made
    finally:
        loop.set_task_factory(None)
        await made.forget_streams()
        for keeper in keepers:
            await keeper.close()
        for part in assembly.parts.values():
            await part.close_streams()
        await workshop.close()
        await tokens.close()
        quiet.close()
        other.close()


def _connection(name: str, tokens: TokenEndpoint) -> dict[str, Any]:
    return {
        "base_url": f"http://127.0.0.1:{PORTS[name]}",
        "auth_errors": RULES,
        "iclient": {
            "grant_type": "client_credentials", "token_url": tokens.url, "client_id": name,
            "client_secret": {"env": "CLIENT_SECRET"}, "valid_domains": [tokens.authority], "allow_insecure": True,
        },
    }  # fmt: skip
