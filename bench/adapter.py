"""Takes streams and carries each through a tunnel of the proxy's: wrk can't ask for tunnels, and this does it for wrk.

It runs on the core of the load. What it costs is not the proxy's, and nothing that is measured through it is a rate.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from asyncio import BaseTransport, Transport


class _Half(asyncio.Protocol):
    """One side of a tunnel: what it gets it writes to the other side."""

    def __init__(self) -> None:
        self.transport: Transport | None = None
        self.other: _Half | None = None
        self.early = b""

    def connection_made(self, transport: BaseTransport) -> None:
        self.transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self.early += data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Upward(_Half):
    """The proxy's side: bytes pass once it has answered CONNECT."""

    def __init__(self, near: _Half, target: str) -> None:
        super().__init__()
        self._near = near
        self._target = target
        self._answer = b""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        cast("Transport", transport).write(f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._answer += data
        if b"\r\n\r\n" not in self._answer:
            return
        near = self._near
        if near.transport is None or self.transport is None or self._answer[9:12] != b"200":
            if near.transport is not None:
                near.transport.abort()
            return
        self.other, near.other = near, self
        self.transport.write(near.early)
        near.transport.write(self._answer.partition(b"\r\n\r\n")[2])


class _Near(_Half):
    """The load's side."""

    def __init__(self, proxy: int, target: str) -> None:
        super().__init__()
        self._proxy = proxy
        self._target = target
        self._opening: asyncio.Task[object] | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        opened = loop.create_connection(lambda: _Upward(self, self._target), "127.0.0.1", self._proxy)
        self._opening = asyncio.create_task(opened, name="opening a tunnel")


async def _serve(port: int, proxy: int, target: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Near(proxy, target), "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
