"""A wire between the product and its Redis server, which the parent can cut in either direction."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from enum import Enum
from typing import TYPE_CHECKING, Self

from tests.chaos.pacing import lasting

if TYPE_CHECKING:
    from pathlib import Path


class Cut(Enum):
    """What no longer gets through."""

    NOTHING = "nothing"
    COMMANDS = "commands: the server never hears of them"
    REPLIES = "replies: what was asked has happened, and the product does not know"


class Relay:
    """Hands on what goes to and fro; `saving` is set once a save was lost, or its reply was.

    `latency`: each reply takes so many seconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = Cut.NOTHING
        self.latency = 0.0
        self.saving = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def lose(self, cut: Cut) -> None:
        """Lose this from now on."""
        self.cut = cut
        self.saving.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer), name="relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            inner, outer = await asyncio.open_unix_connection(str(self._path))
            stream = _Stream(self, outer)
            there = asyncio.create_task(stream.commands(reader), name="relay: commands")
            back = asyncio.create_task(stream.replies(inner, writer), name="relay: replies")
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
                outer.close()


class _Stream:
    """The two directions of one stream."""

    def __init__(self, relay: Relay, server: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._server = server
        self._saves = False

    async def commands(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 16):
            # What a save looks like is part of the documented names: an EVAL on the hash of a grant.
            self._saves = b"EVAL" in data and b"5:grant," in data
            if self._relay.cut is Cut.COMMANDS:
                if self._saves:
                    self._relay.saving.set()
            else:
                self._server.write(data)
                await self._server.drain()

    async def replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self._relay.cut is Cut.REPLIES:
                if self._saves:
                    self._relay.saving.set()
            else:
                await lasting(self._relay.latency)
                writer.write(data)
                await writer.drain()
