"""A fault a second: each is planted, and what an application, the log or the API sees of it has to be what is due."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.pacing import until
from tests.nightly.soak_world import CHANGING, LARGE, STEADY
from tests.support.client import Client
from tests.support.deadline import awaiting, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.nightly.soak_world import World
    from tests.support.client import Response
    from tests.support.process import Process

TOKEN_FAULTS: Final = ("500", "slow", "reset", "cut")
_SLICES: Final = 16  # in which a slow client reads, half a second in all
_PATIENCE: Final = 30.0


class Faults:
    """Plants them in a random order, each kind as often as the others.

    `planted` counts by kind; `exchanges` are the requests that were made for it; `unexplained` says what was not due.
    """

    def __init__(self, world: World, process: Process, folder: Path, chance: random.Random) -> None:
        self._world = world
        self._process = process
        self._file = folder / "definitions.yaml"
        self._chance = chance
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "the token is refused": self._refused,
            "the token is refused and the token endpoint fails": self._refused_without_help,
            "the token endpoint fails": self._token_endpoint_fails,
            "the token endpoint fails otherwise": self._token_endpoint_fails,
            "the upstream resets": self._upstream_resets,
            "the upstream truncates": self._upstream_truncates,
            "the client resets": self._client_resets,
            "the client reads slowly": self._client_reads_slowly,
            "the client leaves inside a head": self._client_leaves,
            "a tunnel": self._tunnel,
            "a WebSocket": self._websocket,
            "a reload by SIGHUP": self._reload_by_signal,
            "a reload by a swapped file": self._reload_by_file,
            "a reload with a fault": self._reload_with_a_fault,
        }
        self._version = 0
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.planted: Counter[str] = Counter()
        self.exchanges = 0
        self.unexplained: list[str] = []

    async def plant(self, seconds: float, every: float) -> None:
        """Plant one after the other for so long, and wait until the last has come to its end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        number = 0
        async for kind in self._order():
            moment = began + number * every
            if moment > began + seconds:
                break
            await until(moment)
            task = asyncio.create_task(self._run(kind), name=kind)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
        await asyncio.gather(*self._tasks)

    async def _order(self) -> AsyncIterator[str]:
        while True:
            kinds = list(self._kinds)
            self._chance.shuffle(kinds)
            for kind in kinds:
                yield kind

    async def _run(self, kind: str) -> None:
        self.planted[kind] += 1
        try:
            async with awaiting(kind, _PATIENCE):
                await self._kinds[kind]()
        except (AssertionError, OSError) as error:
            self.unexplained.append(f"{kind}: {type(error).__name__}: {str(error)[:300]}")

    # What an application does

    async def _ask(self, client: Client, target: bytes, *fields: bytes, connection: str = STEADY) -> None:
        self.exchanges += 1
        lines = (b"GET /%s%s HTTP/1.1" % (connection.encode(), target), b"Host: localhost", *fields, b"", b"")
        await client.send(b"\r\n".join(lines))

    async def _answered(self, target: bytes, connection: str = STEADY) -> Response:
        client = await Client.connect(self._process.reverse)
        try:
            await self._ask(client, target, connection=connection)
            return await client.response()
        finally:
            await client.close()

    # Tokens

    async def _refused(self) -> None:
        world = self._world
        await eventually("a token that serves", lambda: world.newest_was_used)
        before = world.refused
        token = world.revoke()
        # One that was about to be renewed may have been sent for the last time: then the next one serves.
        await eventually("a refusal, or the next token", lambda: world.refused > before or world.newest != token)
        await eventually("another token that serves", lambda: world.newest_was_used)

    async def _refused_without_help(self) -> None:
        await self._token_endpoint_fails()
        await self._refused()

    async def _token_endpoint_fails(self) -> None:
        # A success between two of them: in a row they would outlast every patience, and that is another test.
        await eventually("a token endpoint that is well", lambda: self._world.is_well, _PATIENCE)
        self._world.next_token_request(self._chance.choice(TOKEN_FAULTS))

    # Streams

    async def _upstream_resets(self) -> None:
        answered = await self._answered(b"/reset")
        assert (answered.status, answered.code) == (502, "upstream_reset")

    async def _upstream_truncates(self) -> None:
        answered = await self._answered(b"/truncated")
        assert (answered.status, answered.complete, len(answered.body)) == (200, False, 500)

    async def _client_resets(self) -> None:
        client = await Client.connect(self._process.reverse)
        await self._ask(client, b"/stalls")
        request = await self._world.stalling.get()
        client.reset()
        await request.gone()

    async def _client_reads_slowly(self) -> None:
        client = await Client.connect(self._process.reverse, receive_buffer=4096)
        try:
            await self._ask(client, b"/large")
            loop = asyncio.get_running_loop()
            found = len(await client.read_until(b"\r\n\r\n")) * 0
            for _ in range(_SLICES):
                found += len(await client.read_exactly(LARGE // _SLICES))
                await until(loop.time() + 0.5 / _SLICES)
            assert found == LARGE
        finally:
            await client.close()

    async def _client_leaves(self) -> None:
        self.exchanges += 1  # half a head is one, too: its record says 400
        client = await Client.connect(self._process.reverse)
        await client.send(b"GET /steady/half HTTP/1.1\r\nHost: loc")
        await client.close()

    async def _tunnel(self) -> None:
        client = await Client.connect(self._process.listening["forward"][0])
        try:
            self.exchanges += 1
            authority = self._world.destination.authority
            await client.send(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (authority, authority))
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            far = await self._world.destination.stream()
            await client.send(b"x" * 10_000)
            assert await far.read_exactly(10_000) == b"x" * 10_000
            far.write(b"y" * 10_000)
            assert await client.read_exactly(10_000) == b"y" * 10_000
            await far.close()
            assert await client.is_closed()
        finally:
            await client.close()

    async def _websocket(self) -> None:
        client = await Client.connect(self._process.reverse)
        try:
            await self._ask(client, b"/websocket", b"Connection: Upgrade", b"Upgrade: websocket")
            assert (await client.response(upgrade=True)).status == 101
            await client.send(b"x" * 1000)
            assert await client.read_exactly(1000) == b"x" * 1000
        finally:
            await client.close()

    # Reloads

    def _next(self) -> str:
        """Return the next definitions: one connection has another header, and a third one comes and goes."""
        self._version += 1
        definitions: dict[str, Any] = self._world.definitions(str(self._version))
        if self._version % 2:
            definitions["connections"]["guest"] = {"base_url": "http://127.0.0.1:1", "hosts": []}
        return json.dumps(definitions)

    def _replace(self, text: str) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self._file)

    async def _reloaded(self, outcome: str) -> None:
        """Wait until a reload has that outcome; what is written and what a signal asks for may be two of them."""
        before = len(self._process.logged("reload", outcome=outcome))
        await eventually(
            f"a reload that is {outcome}", lambda: len(self._process.logged("reload", outcome=outcome)) > before
        )

    async def _in_force(self) -> None:
        wanted = str(self._version).encode()

        async def is_in_force() -> bool:
            answered = await self._answered(b"/version", CHANGING)
            return answered.status == 200 and self._world.version == wanted

        await eventually(f"version {self._version}", is_in_force)

    async def _reload_by_signal(self) -> None:
        async with self._reloading:
            self._replace(self._next())
            self._process.signal(signal.SIGHUP)
            await self._in_force()

    async def _reload_by_file(self) -> None:
        async with self._reloading:
            self._replace(self._next())
            await self._in_force()

    async def _reload_with_a_fault(self) -> None:
        async with self._reloading:
            wanted = self._file.read_text()
            self._replace("connections: [")
            await self._reloaded("rejected")
            self._replace(wanted)
            await self._reloaded("applied")
            await self._in_force()
