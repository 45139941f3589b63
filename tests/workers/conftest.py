"""Each test of this folder runs a proxy with workers, and ends it."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.support.deadline import eventually
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.client import Client
    from tests.support.process import Process

    Play = Callable[..., Awaitable["WithWorkers"]]

SIZE = 2


class WithWorkers:
    """A proxy with workers, one connection and the file that its operator edits."""

    def __init__(self, stage: Stage, case: Case, folder: Path) -> None:
        self.stage = stage
        self.case = case
        self.file = folder / "definitions.yaml"

    @property
    def process(self) -> Process:
        return self.stage.process

    def pids(self) -> dict[int, int]:
        """Return the process of each worker that has begun to serve last, by its number."""
        return {said["number"]: said["pid"] for said in self.process.logged("worker", outcome="serving")}

    async def is_ready(self) -> bool:
        return (await self.process.admin_get("/readyz")).status == 200

    async def streams_of_all(self, tls: ssl.SSLContext | None = None) -> dict[str, Client]:
        """Return a client's stream for each worker, by the beginning of the ids of its requests."""
        found: dict[str, Client] = {}

        async def another() -> bool:
            client = await self.case.connect(tls=tls)
            who = await self.worker_of(client)
            found.setdefault(who, client)
            return len(found) == SIZE

        await eventually("a stream to each worker", another, 60.0)
        return found

    async def worker_of(self, client: Client) -> str:
        """Return by what the ids begin of the worker that has this stream."""
        answered = await client.ask(b"GET /nowhere HTTP/1.1\r\n%s\r\n\r\n" % self.case.host)
        assert answered.status == 404
        request_id: str = json.loads(answered.body)["request_id"]
        return request_id.partition("-")[0]

    def write(self, **connection: Any) -> None:
        """Write the definitions with these settings of the connection."""
        definitions = json.loads(self.file.read_text())
        definitions["connections"]["c0"].update(connection)
        self.file.write_text(json.dumps(definitions))


@pytest_asyncio.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    """Start the product with workers and these settings; everything is closed after the test.

    `tls` is of the upstream, `rhythm` of the heartbeat.
    """
    async with AsyncExitStack() as after:

        async def start(
            connection: dict[str, Any] | None = None,
            *,
            tls: ssl.SSLContext | None = None,
            rhythm: dict[str, float] | None = None,
            environment: dict[str, str] | None = None,
            **settings: Any,
        ) -> WithWorkers:
            stage = Stage({"c0": connection or {}}, {"workers": SIZE, **settings})
            if rhythm is not None:
                stage.program = ("tests.support.hasty", json.dumps(rhythm))
            await stage.start(tmp_path, environment=environment)
            after.push_async_callback(stage.close)
            case = await stage.case("c0", tls)
            after.push_async_callback(case.close)
            made = WithWorkers(stage, case, tmp_path)
            await eventually("all workers", made.is_ready, 60.0)
            await made.process.until_logged("worker", SIZE, outcome="serving")
            return made

        yield start


def is_gone(pid: int) -> bool:
    """Tell whether there is no such process any more; one that nobody has buried is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> list[int]:
    """Return the processes that this one has started."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                fields = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(each.name))
    return found


def shown_of(pid: int, name: str) -> bytes:
    """Return what the kernel shows of a process in that file."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def all_of(*work: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return list(await asyncio.gather(*work))


def kill(pid: int, number: int) -> None:
    """Send a signal to one process."""
    os.kill(pid, number)


def memory_of(pid: int) -> bytes:
    """Return what a process has in its memory that it may write to; root alone sees it."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                begin, end = (int(each, 16) for each in where.split("-"))
                memory.seek(begin)
                while begin < end and (piece := memory.read(end - begin)):
                    found += piece
                    begin += len(piece)
    return bytes(found)
