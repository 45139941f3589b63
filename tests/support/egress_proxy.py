"""A company's HTTP proxy: it takes CONNECT alone, keeps every head that came, and joins streams or answers as told."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final, Self

_HEAD_MAX: Final = 1 << 16


class EgressProxy:
    """Listens on loopback once entered, or on `listening`, which is there already.

    `answer` is sent instead of joining, None: nothing is. `hosts` says where names lead.
    """

    def __init__(
        self,
        answer: bytes | None = b"",
        hosts: dict[str, str] | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.port = 0
        self._listening = listening
        self.hosts = hosts or {}
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        sock = self._listening or socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=sock)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def asked_for(self) -> list[str]:
        """The authorities of all CONNECTs, in order."""
        return [head.split(b" ")[1].decode() for head in self.heads]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                assert head.startswith(b"CONNECT "), head
                assert len(head) < _HEAD_MAX
                if self.answer is None:
                    await reader.read()
                    return
                if self.answer:
                    writer.write(self.answer)
                    await writer.drain()
                    return
                await self._join(reader, writer)
        finally:
            await _closed(writer)
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, _, port = self.asked_for[-1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(self.hosts.get(name, name.strip("[]")), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far_writer), name="towards the destination")
                both.create_task(_pump(far_reader, writer), name="from the destination")
        finally:
            await _closed(far_writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
