"""A real HAProxy before several servers, with health checks on another address; it can be asked which are up."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.support.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.process import Address

PROGRAM: Final = "haproxy"
_CONFIGURATION: Final = """\
global
  maxconn 2000
  nbthread 1
  stats socket {stats} level admin
defaults
  mode {mode}
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
listen front
  bind 127.0.0.1:{port}
  balance roundrobin
  option httpchk GET /readyz
  http-check expect status 200
  option redispatch
  default-server inter 200ms fall 1 rise 1
{servers}
"""


class HaProxy:
    """What runs; `address` is where clients go."""

    def __init__(self, address: Address, stats: Path) -> None:
        self.address = address
        self._stats = stats

    async def up(self) -> set[str]:
        """Return the servers that it sends requests to."""
        reader, writer = await asyncio.open_unix_connection(self._stats)
        writer.write(b"show stat\n")
        text = (await reader.read()).decode().removeprefix("# ")
        writer.close()
        await writer.wait_closed()
        rows = csv.DictReader(io.StringIO(text))
        return {row["svname"] for row in rows if row["pxname"] == "front" and row["status"].startswith("UP")}

    async def until_up(self, *names: str) -> None:
        """Wait until it sends requests to these servers."""

        async def are_up() -> bool:
            return set(names) <= await self.up()

        await eventually(f"HAProxy to find {names} well", are_up, 30)


@asynccontextmanager
async def haproxy(
    folder: Path, port: int, servers: Mapping[str, tuple[Address, Address]], mode: str = "http"
) -> AsyncIterator[HaProxy]:
    """Run it on `port` before servers by name: where each serves, and where it is asked for its health."""
    lines = [
        f"  server {name} {serves[0]}:{serves[1]} check addr {health[0]} port {health[1]}"
        for name, (serves, health) in servers.items()
    ]
    stats = folder / "stats"
    file = folder / "haproxy.cfg"
    file.write_text(_CONFIGURATION.format(stats=stats, mode=mode, port=port, servers="\n".join(lines)))
    program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or PROGRAM
    running = await asyncio.create_subprocess_exec(
        program, "-db", "-f", str(file), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually("the socket of HAProxy", stats.is_socket)
        yield HaProxy(("127.0.0.1", port), stats)
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()
