"""The third reader: Node's own http server and client, strict, in a process of their own."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.readings import Message, Reading, Rest, tidy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_PROGRAM: Final = Path(__file__).with_name("reader.mjs")
_LINE_MAX: Final = 1 << 26


class Node:
    """One process; asked for many readings at a time, answers in order."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running
        self._turn = asyncio.Lock()

    async def requests(self, streams: Sequence[bytes]) -> list[Reading]:
        """Return what the server reads on each of these streams."""
        return await self._ask([b"Q" + stream for stream in streams])

    async def responses(self, streams: Sequence[tuple[bytes, bytes, bool]]) -> list[Reading]:
        """Return what the client reads as the response: bytes, method of the request, whether the stream ended."""
        return await self._ask(
            [b"S" + (b"1" if ended else b"0") + bytes([len(method)]) + method + data for data, method, ended in streams]
        )

    async def _ask(self, frames: list[bytes]) -> list[Reading]:
        async with self._turn:
            stdin, stdout = self._running.stdin, self._running.stdout
            assert stdin is not None
            assert stdout is not None
            writing = asyncio.create_task(_write(stdin, frames), name="frames for node")
            lines = [await stdout.readline() for _ in frames]
            await writing
        return [_reading(json.loads(line)) for line in lines]


async def _write(stdin: asyncio.StreamWriter, frames: list[bytes]) -> None:
    for frame in frames:
        stdin.write(struct.pack(">I", len(frame)) + frame)
        await stdin.drain()


def _reading(told: dict[str, Any]) -> Reading:
    messages = tuple(
        Message(
            tuple(word.encode("latin-1") for word in each["start"]),
            tidy([(name.encode("latin-1"), value.encode("latin-1")) for name, value in each["fields"]]),
            each["body"].encode("latin-1"),
            each["version"].encode(),
        )
        for each in told["messages"]
    )
    return Reading(messages, Rest[told["rest"]], told["why"])


@asynccontextmanager
async def node(program: str = "node") -> AsyncIterator[Node]:
    """Have the process run for the block."""
    running = await asyncio.create_subprocess_exec(
        program, str(_PROGRAM), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_MAX
    )
    try:
        yield Node(running)
    finally:
        assert running.stdin is not None
        running.stdin.close()
        await running.wait()
        running._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio leaves it to the collector
