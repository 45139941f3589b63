"""A scripted upstream on bare asyncio streams: it keeps every request as the bytes that came, and answers as told.

A script is a coroutine function that takes one `Request`. Nothing here parses with the product's code, and nothing is
lenient: a head or a chunk that is not plain HTTP/1.1 ends the stream and is kept in `Upstream.malformed`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.support.deadline import awaiting
from tests.support.scripts import answer_by_token

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    Script = Callable[["Request"], Awaitable[None]]

# As many streams as the proxy may dial at once. Where the queue overflows Linux drops the last step of a handshake: the
# proxy then holds a stream that is open for it and that nobody here knows of, until `limits.upstream_idle`.
_BACKLOG: Final = 4096


class Gone(Exception):
    """The proxy closed or reset the stream while a script was waiting for bytes."""


class Stream(asyncio.Protocol):
    """One stream that the proxy opened. `ended` is set when its FIN or RST arrived."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.buffer = bytearray()
        self.ended = asyncio.Event()
        self.lost = asyncio.Event()
        self.reset_by_peer = False
        self.bytes_written = 0
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.upstream.streams.append(self)
        self.number = len(self.upstream.streams)
        if self.upstream.greeting:
            transport.write(self.upstream.greeting)
        self.task = asyncio.create_task(self._serve(), name=f"upstream stream {self.number}")
        self.task.add_done_callback(self._ended_its_script)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.ended.set()
        self._changed.set()
        return self.upstream.tls is None  # a half-open stream: what the proxy does next is the script's to see

    def connection_lost(self, error: Exception | None) -> None:
        self.reset_by_peer = isinstance(error, ConnectionResetError)
        self.ended.set()
        self.lost.set()
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()`; raise `Gone` when the proxy ends the stream first."""
        while not holds():
            if self.ended.is_set():
                raise Gone
            self._changed.clear()
            await self._changed.wait()

    async def until_size(self, size: int) -> None:
        """Wait until that many bytes are there."""
        await self.until(lambda: len(self.buffer) >= size)

    async def until_line(self, at: int) -> int:
        """Wait for the end of the line that begins at `at`; return where its CRLF stands."""
        await self.until(lambda: self.buffer.find(b"\r\n", at) >= 0)
        return self.buffer.index(b"\r\n", at)

    async def write(self, data: bytes) -> None:
        """Write and wait while the proxy does not take it."""
        if self.lost.is_set():
            raise Gone
        self.transport.write(data)
        self.bytes_written += len(data)
        await self._writable.wait()

    async def flushed(self) -> None:
        """Wait while the proxy does not take what was written."""
        await self._writable.wait()

    async def _serve(self) -> None:
        with suppress(Gone):
            while True:
                await self.until(lambda: b"\r\n\r\n" in self.buffer)
                end = self.buffer.index(b"\r\n\r\n") + 4
                head = bytes(self.buffer[:end])
                del self.buffer[:end]
                request = Request(head, self)
                self.upstream.take(request)
                await self.upstream.script_for(request)(request)
                if request.finished:
                    break
                if not request.body_complete:
                    await request.read_body()
            await self.lost.wait()
        if not self.transport.is_closing():
            self.transport.close()

    def _ended_its_script(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.transport.abort()  # so that nobody waits for a script that failed; `Upstream.close` tells why


class Request:
    """One request head that arrived complete, and what a script does with it."""

    def __init__(self, head: bytes, stream: Stream) -> None:
        self.head = head
        self.stream = stream
        self.line, *lines = head[:-4].split(b"\r\n")
        self.body = b""
        self.raw_body = b""
        self.trailers = b""
        self.finished = False
        self.fields: list[tuple[bytes, bytes]] = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or b"\n" in line or b"\r" in line or name != name.strip():
                stream.upstream.malformed.append(head)
            self.fields.append((name, value.strip(b" \t")))
        lengths, codings = self.values(b"content-length"), self.values(b"transfer-encoding")
        if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
            stream.upstream.malformed.append(head)
        self.chunked = bool(codings)
        self.content_length = int(lengths[0]) if lengths else 0
        self.body_complete = not self.chunked and not self.content_length

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every field of that name, in order."""
        return [value for field, value in self.fields if field.lower() == name.lower()]

    @property
    def method(self) -> bytes:
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def token(self) -> str:
        """The bearer token, or "" without one."""
        values = self.values(b"authorization")
        return values[0].removeprefix(b"Bearer ").decode() if len(values) == 1 else ""

    async def read_body(self) -> bytes:
        """Read the whole body, decoded; raise `Gone` when the proxy leaves inside it."""
        if self.body_complete:
            return self.body
        buffer = self.stream.buffer
        if self.chunked:
            await self._read_chunks()
        else:
            await self.stream.until_size(self.content_length)
            self.raw_body = self.body = bytes(buffer[: self.content_length])
            del buffer[: self.content_length]
        self.body_complete = True
        return self.body

    async def _read_chunks(self) -> None:
        buffer, at, decoded = self.stream.buffer, 0, bytearray()
        while True:
            end = await self.stream.until_line(at)
            digits = bytes(buffer[at:end])
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                self.stream.upstream.malformed.append(self.head + bytes(buffer[:end]))
                raise Gone
            size, at = int(digits, 16), end + 2
            if size == 0:
                break
            await self.stream.until_size(at + size + 2)
            decoded += buffer[at : at + size]
            at += size + 2
            if buffer[at - 2 : at] != b"\r\n":
                self.stream.upstream.malformed.append(self.head + bytes(buffer[:at]))
                raise Gone
        trailers = end = at
        while (end := await self.stream.until_line(at)) > at:
            at = end + 2
        self.trailers = bytes(buffer[trailers:end])
        self.raw_body, self.body = bytes(buffer[: end + 2]), bytes(decoded)
        del buffer[: end + 2]

    async def send(self, *pieces: bytes | asyncio.Event) -> None:
        """Write the pieces one by one; an event is waited for."""
        for piece in pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                await self.stream.write(piece)

    async def gone(self) -> None:
        """Wait until the proxy ends the stream."""
        await self.stream.ended.wait()

    def fin(self, *, close_notify: bool = True) -> None:
        """End our side after what was written; over TLS with or without saying so inside TLS."""
        self.finished = True
        transport = self.stream.transport
        if self.stream.upstream.tls is None:
            transport.write_eof()
        elif close_notify:
            transport.close()
        else:
            transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the stream with RST."""
        self.finished = True
        reset(self.stream.transport)


def reset(transport: asyncio.WriteTransport) -> None:
    """Close with RST instead of FIN."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Upstream:
    """A server on a listening socket. `requests` holds every complete head in the order of arrival: U is its length."""

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self._listening = listening
        self.port: int = listening.getsockname()[1]
        self.tls = tls
        self.greeting = b""  # what it says before it is asked: an upstream that is no HTTP server
        self.requests: list[Request] = []
        self.malformed: list[bytes] = []
        self.streams: list[Stream] = []
        self.refused_tokens: set[str] = set()
        self._scripts: list[Script] = []
        self._default: Script = answer_by_token
        self._arrived = asyncio.Condition()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Stream(self), sock=self._listening, ssl=self.tls, backlog=_BACKLOG
        )

    @property
    def open_streams(self) -> int:
        """How many streams of the proxy are open."""
        return sum(not stream.lost.is_set() for stream in self.streams)

    def shut(self) -> None:
        """Stop listening; streams that are open stay."""
        self._server.close()

    def forsake(self) -> None:
        """Let go of the port of an upstream that was never started."""
        self._listening.close()

    async def reopen(self) -> None:
        """Listen again on the same port."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        await self.start()

    async def close(self) -> None:
        self._server.close()
        for stream in self.streams:
            stream.transport.abort()
            stream.task.cancel()
        tasks = [stream.task for stream in self.streams]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        await self._server.wait_closed()

    def answers(self, *scripts: Script) -> None:
        """Give the next requests these scripts, one each; later ones get the usual answer."""
        self._scripts.extend(scripts)

    def always(self, script: Script) -> None:
        """Give every request this script from now on."""
        self._default = script

    def behave(self) -> None:
        """Forget all scripts and refusals."""
        self._scripts.clear()
        self._default = answer_by_token
        self.refused_tokens.clear()

    def script_for(self, request: Request) -> Script:
        return self._scripts.pop(0) if self._scripts else self._default

    def take(self, request: Request) -> None:
        self.requests.append(request)
        task = asyncio.create_task(self._announce())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _announce(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def arrived(self, count: int = 1) -> Request:
        """Wait until `count` requests have arrived in all; return the last of them."""
        async with awaiting(f"request {count} at the upstream"), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]


def listen() -> socket.socket:
    """Return a socket that listens on a free loopback port."""
    return socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
