"""Kills a process at a system call, from outside: strace attaches and delivers the signal before the call happens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.deadline import awaiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def killed_at(pid: int, *calls: str, number: int = 1, on: Path | None = None) -> AsyncIterator[None]:
    """Attach for the block, at whose end the process has to have died by it.

    It dies where one of its threads enters the call number `number` of `calls`, counted from now on in that thread;
    with `on`, only calls on that file count.
    """
    names = ",".join(calls)
    where = [] if on is None else ["-P", str(on)]
    strace = await asyncio.create_subprocess_exec(
        "strace", "-f", "-p", str(pid), "-o", "/dev/null", *where,
        "-e", f"trace={names}", "-e", f"inject={names}:signal=SIGKILL:when={number}",
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert strace.stderr is not None
    try:
        async with awaiting("strace to attach"):
            said = await strace.stderr.readline()
        assert b"attached" in said, said.decode()
        yield
        async with awaiting(f"the end of a process that enters {names}"):
            await strace.wait()
    finally:
        if strace.returncode is None:
            strace.terminate()
            await strace.wait()
