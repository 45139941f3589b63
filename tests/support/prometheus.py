"""A real Prometheus on a configuration, and what it answers to queries."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.conftest import program
from tests.support.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Vector = list[dict[str, Any]]


@asynccontextmanager
async def prometheus(folder: Path, configuration: str) -> AsyncIterator[int]:
    """Run Prometheus in a folder, where it writes `log`; yield its port."""
    (folder / "prometheus.yml").write_text(configuration)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    with (folder / "log").open("wb") as log:
        running = await asyncio.create_subprocess_exec(
            program("prometheus") or "prometheus", f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env={"HOME": str(folder)},
        )  # fmt: skip
    try:
        yield port
    finally:
        running.terminate()
        await running.wait()


async def query(port: int, expression: str) -> Vector:
    """Ask for an instant vector; empty also while Prometheus does not answer yet."""
    try:
        client = await Client.connect(("127.0.0.1", port))
    except OSError:
        return []
    try:
        asked = f"GET /api/v1/query?query={quote(expression)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await client.ask(asked.encode())
    finally:
        await client.close()
    assert answer.status != 400, (expression, answer.body)
    if answer.status != 200:
        return []
    found: Vector = json.loads(answer.body)["data"]["result"]
    return found


async def value(port: int, expression: str) -> str | None:
    """Return the value of the first series; None while there is none."""
    found = await query(port, expression)
    return str(found[0]["value"][1]) if found else None
