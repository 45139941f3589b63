"""A server that is no HTTP server: it takes streams and hands them to the test, which says what becomes of each."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.support.deadline import awaiting
from tests.support.upstream import reset

if TYPE_CHECKING:
    from types import TracebackType


class Far:
    """One stream, seen from the destination."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.was_reset = False

    def write(self, data: bytes) -> None:
        """Write; nobody waits until it has left."""
        self._writer.write(data)

    async def drained(self) -> None:
        """Wait until what was written has been taken."""
        await self._writer.drain()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """End the stream with RST."""
        reset(self._writer.transport)

    async def close(self) -> None:
        """Send FIN, and RST to whatever still comes."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        async with awaiting(f"{size} bytes at the destination"):
            return await self._reader.readexactly(size)

    async def read_rest(self) -> bytes:
        """Return everything up to the end of the stream; `was_reset` tells which end it was."""
        rest = bytearray()
        async with awaiting("the end of the stream at the destination"):
            try:
                while data := await self._reader.read(1 << 16):
                    rest += data
            except ConnectionError:
                self.was_reset = True
        return bytes(rest)


class Destination:
    """Listens once entered; `accepted` counts the streams that came."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.listening = socket.create_server((address, 0), backlog=1024)
        self.port: int = self.listening.getsockname()[1]
        self.accepted = 0
        self._waiting: asyncio.Queue[Far] = asyncio.Queue()
        self._streams: list[Far] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, sock=self.listening, limit=1 << 16)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for stream in self._streams:
            await stream.close()
        await self._server.wait_closed()

    @property
    def authority(self) -> bytes:
        """Host and port as a CONNECT names them."""
        return b"127.0.0.1:%d" % self.port

    async def stream(self) -> Far:
        """Return the next stream that came."""
        async with awaiting("a stream at the destination"):
            return await self._waiting.get()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far = Far(reader, writer)
        self._streams.append(far)
        self._waiting.put_nowait(far)
