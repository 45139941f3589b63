"""A scripted authorization server on bare asyncio streams: it keeps each request as it came and answers as told.

In a test: `async with AuthorizationServer() as server`, `server.script(error("invalid_client"), token())`, and the
definitions get `server.url`. Other endpoints may have scripts of their own: `server.url_of("/revoke")` and
`server.script(respond(200), at="/revoke")`. As a process: `python -m tests.support.authorization_server
--expires-in 60` prints one line of JSON with its URL and serves until its standard input ends. Nothing here parses
with the product's code.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl

from tests.support import seen
from tests.support.deadline import awaiting
from tests.support.upstream import reset

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    Answer = Callable[["Exchange"], Awaitable[None]]

PATH: Final = "/token"


class End(Enum):
    """What a raw answer may do beside writing bytes."""

    CLOSE = "FIN"
    RESET = "RST"
    STALL = "nothing, until the other side leaves"


@dataclass
class Asked:
    """One request as it came: header names as they were written, the body unread."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    arrived: float

    def values(self, name: str) -> list[str]:
        """Return the values of all headers of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def form(self) -> dict[str, str]:
        """The fields of the body; a repeated one is a failure."""
        pairs = parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    @property
    def basic(self) -> str | None:
        """What `Authorization: Basic` carries, decoded from Base64 only; None without one."""
        found = self.values("authorization")
        if not found:
            return None
        [credentials] = found
        scheme, _, encoded = credentials.partition(" ")
        assert scheme == "Basic"
        return base64.b64decode(encoded, validate=True).decode()


@dataclass
class Exchange:
    """One request on its stream. `number` counts requests from 1."""

    server: AuthorizationServer
    asked: Asked
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    def reset(self) -> None:
        reset(self.writer.transport)

    async def left(self, within: float | None = None) -> bool:
        """Wait until the other side has closed, so long at most; return whether it has."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


# ------------------------------------------------------------------------------------------------------------ answers


def raw(*pieces: bytes | asyncio.Event | End) -> Answer:
    """Return an answer that writes the pieces, waits for the events, ends as told."""

    async def answer(exchange: Exchange) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                await exchange.write(piece)
            elif isinstance(piece, asyncio.Event):
                await piece.wait()
            elif piece is End.CLOSE:
                exchange.writer.close()
            elif piece is End.RESET:
                exchange.reset()
            else:
                await exchange.left()

    return answer


def dripping(data: bytes, every: float) -> Answer:
    """Return an answer that writes one byte at a time, so many seconds apart, until the other side leaves."""

    async def answer(exchange: Exchange) -> None:
        for byte in data:
            await exchange.write(bytes([byte]))
            if await exchange.left(within=every):
                return

    return answer


def respond(status: int, body: bytes = b"", content_type: str | None = "application/json", **headers: str) -> Answer:
    """Return a plain answer; `retry_after="3"` becomes `Retry-After: 3`."""
    lines = [f"HTTP/1.1 {status} Told so", f"Content-Length: {len(body)}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return raw("\r\n".join([*lines, "", ""]).encode() + body)


def say(status: int, content: object, **headers: str) -> Answer:
    """Return an answer with JSON."""
    return respond(status, json.dumps(content).encode(), **headers)


def error(code: str, status: int = 400, **headers: str) -> Answer:
    """Return an error of RFC 6749 §5.2."""
    return say(status, {"error": code}, **headers)


def token(value: str = "token-{number}", **fields: Any) -> Answer:
    """Return an answer with a token; `{number}` is that of the request. A field that is None is left out."""

    async def answer(exchange: Exchange) -> None:
        content = {
            "access_token": value.format(number=exchange.number),
            "token_type": "Bearer",
            "expires_in": exchange.server.expires_in,
            **fields,
        }
        await say(200, {key: what for key, what in content.items() if what is not None})(exchange)

    return answer


def metadata(**endpoints: Any) -> Answer:
    """Return an answer of RFC 8414: the issuer is the server itself; `token_endpoint="/token"` is a path of it."""

    async def answer(exchange: Exchange) -> None:
        server = exchange.server
        said = {
            name: server.url_of(value) if isinstance(value, str) and value.startswith("/") else value
            for name, value in endpoints.items()
        }
        await say(200, {"issuer": server.issuer} | said)(exchange)

    return answer


def when(gate: asyncio.Event, then: Answer) -> Answer:
    """Return an answer that waits for the gate first."""

    async def answer(exchange: Exchange) -> None:
        await gate.wait()
        await then(exchange)

    return answer


# ------------------------------------------------------------------------------------------------------------- server


@dataclass
class AuthorizationServer:
    """Answers by the script while it lasts, then by `default`, whatever the path.

    Once a path other than that of tokens has a script, each path has its own, and nothing else is found there.
    `application_bytes` is what came in after TLS.
    """

    tls: ssl.SSLContext | None = None
    expires_in: int | None = 3600
    host: str = "127.0.0.1"
    default: Answer = field(default_factory=token)
    asked: list[Asked] = field(default_factory=list)
    streams: int = 0
    application_bytes: int = 0

    async def __aenter__(self) -> Self:
        self._answers: dict[str, list[Answer]] = {PATH: []}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self.tls, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        seen.asked_for(len(self.asked_at(PATH)))
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The token URL."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{PATH}"

    @property
    def issuer(self) -> str:
        """The server as an issuer: its origin."""
        return self.url.removesuffix(PATH)

    def url_of(self, path: str) -> str:
        """Return the URL of a path."""
        return self.issuer + path

    def asked_at(self, path: str) -> list[Asked]:
        """Return the requests that came to one path, in order."""
        return [asked for asked in self.asked if asked.path == path]

    @property
    def T(self) -> int:  # noqa: N802 the catalogue's word for the number of token requests
        return len(self.asked)

    @property
    def open_streams(self) -> int:
        return len(self._tasks)

    def script(self, *answers: Answer, at: str = PATH) -> None:
        """Append answers for the next requests to a path."""
        self._answers.setdefault(at, []).extend(answers)

    async def was_asked(self, times: int) -> None:
        """Return when so many token requests have come in all."""
        async with awaiting(f"token request {times}, of {self.T} so far"):
            while times > self.T:
                self._changed.clear()
                await self._changed.wait()

    async def is_quiet(self) -> None:
        """Return when no stream is open any more."""
        async with awaiting("the end of all streams"):
            while self._tasks:
                self._changed.clear()
                await self._changed.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        task = asyncio.create_task(self._serve(reader, writer), name=f"token stream {self.streams}")
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._ended(task, writer))

    def _ended(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()  # here, for a task that is cancelled before it begins has no `finally`
        self._tasks.discard(task)
        self._changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await self._read(reader)) is not None:
                self.asked.append(asked)
                self._changed.set()
                answer = self._next(asked.path)
                await answer(Exchange(self, asked, self.T, reader, writer))
                if writer.is_closing():
                    break
        except ConnectionError:
            pass  # the other side left

    def _next(self, path: str) -> Answer:
        several = len(self._answers) > 1
        answers = self._answers.get(path, []) if several else self._answers[PATH]
        if answers:
            return answers.pop(0)
        return self.default if path == PATH or not several else respond(404)

    async def _read(self, reader: asyncio.StreamReader) -> Asked | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as short:
            self.application_bytes += len(short.partial)
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        [length] = [value for name, value in headers if name.lower() == "content-length"] or ["0"]
        body = await reader.readexactly(int(length))
        self.application_bytes += len(head) + len(body)
        return Asked(method, target, headers, body, asyncio.get_running_loop().time())


async def _serve_until_input_ends(expires_in: int) -> None:
    async with AuthorizationServer(expires_in=expires_in) as server:
        sys.stdout.write(json.dumps({"token_url": server.url, "authority": server.authority}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--expires-in", type=int, default=3600, help="seconds that tokens live")
    asyncio.run(_serve_until_input_ends(arguments.parse_args().expires_in))
