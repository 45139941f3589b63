"""A real Redis server of a test's own: killed, frozen, paused, made read-only, replaced by an empty one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import tempfile
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.deadline import awaiting, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROGRAM: Final = "redis-server"
Reply = Any
_NUMBERS: Final = cycle(range(1, 250))


class RedisError(Exception):
    """The server's error reply."""


class RedisServer:
    """One server in a folder of its own, on a socket there, and on a TCP port; nothing of it outlives the test.

    With `tls` the port speaks TLS by these settings of redis.conf (`tls-cert-file` …). `settings` are added to those.
    """

    def __init__(self, *, tls: dict[str, str] | None = None, settings: dict[str, str] | None = None) -> None:
        self._program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or PROGRAM
        # The path of a socket may have 108 bytes; pytest's own folders can be longer.
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.path = self.folder / "redis.sock"
        # No other test takes the port of an address of its own while it is away; "localhost" is in certificates.
        self.host = "localhost" if tls else f"127.{os.getpid() % 250 + 1}.{next(_NUMBERS)}.1"
        self.port = _free_port(self.host)
        self._tls = tls
        self._settings = settings or {}
        self._running: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """By its socket."""
        return f"unix://{self.path}"

    @property
    def tcp_url(self) -> str:
        """By its port; with TLS the host is a name, as certificates have names."""
        return f"{'redis' if self._tls is None else 'rediss'}://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._running is not None
        return self._running.pid

    async def start(self) -> None:
        """Start it, empty; return when it answers."""
        port = {"port": "0", "tls-port": str(self.port), **self._tls} if self._tls else {"port": str(self.port)}
        settings = {
            "bind": "127.0.0.1" if self._tls else self.host,
            "unixsocket": str(self.path),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            **port,
            **self._settings,
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", *([value] if value else [""]))]
        self._running = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.folder,
        )
        await eventually("a Redis server that answers", self._answers)

    async def _answers(self) -> bool:
        assert self._running is not None
        assert self._running.returncode is None, "the Redis server has ended; is its port taken?"
        try:
            await self.command("PING")
        except OSError:
            return False
        except RedisError:  # NOAUTH: it is there
            return True
        return True

    async def command(self, *words: str | bytes | int) -> Reply:
        """Send one command by the socket and return its reply; raises `RedisError`."""
        replies = await self.commands(words)
        return replies[0]

    async def commands(self, *commands: tuple[str | bytes | int, ...]) -> list[Reply]:
        """Send commands on one stream, and return their replies."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            async with awaiting(f"a reply to {commands[0][0]!r}"):
                writer.write(b"".join(map(_written, commands)))
                return [await _reply(reader) for _ in commands]
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def configure(self, name: str, value: str | int) -> None:
        """`CONFIG SET`: `maxmemory 1` refuses writes with -OOM, `replicaof` another host with -READONLY."""
        await self.command("CONFIG", "SET", name, value)

    async def read_only(self) -> None:
        """Refuse writes as a replica does."""
        await self.command("REPLICAOF", "127.0.0.1", "1")

    async def writable(self) -> None:
        """Be a master again."""
        await self.command("REPLICAOF", "NO", "ONE")

    async def keys(self) -> list[str]:
        """Return the names of all keys."""
        return sorted(name.decode() for name in await self.command("KEYS", "*"))

    async def cut_streams(self) -> None:
        """Close all streams of clients but this one."""
        await self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await self.command("CLIENT", "KILL", "TYPE", "pubsub")

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Let the process stand still for the block: streams stay open, and nothing answers."""
        assert self._running is not None
        self._running.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._running.pid}/stat")
        await eventually("a server that stands still", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        try:
            yield
        finally:
            self._running.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once; nothing of what it held is kept."""
        if self._running is not None and self._running.returncode is None:
            self._running.kill()
        if self._running is not None:
            await self._running.wait()
            self._running._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio leaves it to the collector
            self._running = None

    async def replace(self) -> None:
        """Put an empty one in its place."""
        await self.kill()
        await self.start()

    async def close(self) -> None:
        """End it and remove its folder."""
        await self.kill()
        shutil.rmtree(self.folder)


@asynccontextmanager
async def redis_server(**settings: Any) -> AsyncIterator[RedisServer]:
    """Have a server for the block; see `RedisServer`."""
    server = RedisServer(**settings)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def _free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
        return port


def _written(words: tuple[str | bytes | int, ...]) -> bytes:
    raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)


async def _reply(reader: asyncio.StreamReader) -> Reply:
    line = (await reader.readline()).rstrip(b"\r\n")
    if not line:
        raise ConnectionResetError("the server closed the stream")
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [await _reply(reader) for _ in range(int(rest))]
    return rest


class ScriptedRedis:
    """Not a Redis server: it gives the same `answer` to every command, and None resets the stream instead.

    `commands` are those it got, `streams` how many were opened.
    """

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.commands: list[list[bytes]] = []
        self.streams = 0
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        self._writers.append(writer)
        try:
            while True:
                self.commands.append(await _reply(reader))
                if self.answer is None:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                writer.write(self.answer)
                await writer.drain()
        except OSError:  # the client has left
            return
        finally:
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedRedis]:
        """Listen for the block."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                for writer in self._writers:
                    writer.close()
