"""A crowd of slow clients in a process of its own, which also serves the upstream that their stalled bodies go to.

Whoever measures beside them shall be held up by the proxy alone. So the crowd is there before the first measurement,
since a fork copies memory; its upstream, which takes a third of them within a second, is not the one that answers good
requests; and `apart` has it run only while nobody else wants the CPU: a crowd comes from other machines.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import lasting
from tests.support.client import Client
from tests.support.deadline import awaiting, slowly
from tests.support.stage import Case
from tests.support.upstream import Upstream

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine
    from multiprocessing.connection import Connection

    from tests.support.stage import Stage

NAME: Final = "slow"  # of their connection
_FORK: Final = multiprocessing.get_context("fork")
_AT_ONCE: Final = 100


class Crowd:
    """So many slow clients, a third of each kind, whenever they are told to `come`."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    @classmethod
    @asynccontextmanager
    async def of(
        cls, stage: Stage, listening: socket.socket, count: int, seconds: float, *, apart: bool
    ) -> AsyncIterator[Crowd]:
        """Start the process; `seconds` are what slow clients are given, `listening` is where the upstream listens."""
        here, there = _FORK.Pipe()

        def live() -> None:
            here.close()
            if apart:
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            asyncio.run(_live(stage, listening, count, seconds, there))

        process = _FORK.Process(target=live, name="slow clients", daemon=True)
        process.start()
        there.close()
        listening.close()
        crowd = cls(process, here)
        try:
            await crowd._said()
            yield crowd
        finally:
            here.close()
            await asyncio.to_thread(process.join)

    async def come(self) -> list[float]:
        """Return for each client how long it was let stay after its first byte (heads), or its last one (bodies)."""
        self._pipe.send(True)
        return await self._said()

    async def _said(self) -> list[float]:
        said: list[float] = await asyncio.to_thread(self._pipe.recv)
        return said


async def _live(stage: Stage, listening: socket.socket, count: int, seconds: float, pipe: Connection) -> None:
    upstream = Upstream(listening)
    await upstream.start()
    case = Case(NAME, upstream, stage, counted=False)
    await case.warm()
    pipe.send([])
    with suppress(EOFError):
        while await asyncio.to_thread(pipe.recv):
            pipe.send(await _come(case, count, seconds))
    await case.leave()
    await upstream.close()


async def _come(case: Case, count: int, seconds: float) -> list[float]:
    kinds = (_drip_a_head, _stop_in_a_head, _stop_in_a_body)
    lasted: list[float] = []

    async def come(how: Callable[[Case, Client, float], Coroutine[None, None, None]]) -> None:
        client = await Client.connect(case.stage.process.reverse)
        loop = asyncio.get_running_loop()
        began = loop.time()
        dripping = asyncio.create_task(how(case, client, seconds))
        async with awaiting("the end of a slow client", seconds * 6):
            while await client.read():
                pass
        lasted.append(loop.time() - began)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        await client.close()

    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        tasks.append(asyncio.create_task(come(kinds[number % len(kinds)])))
        if number % _AT_ONCE == 0:
            await lasting(
                seconds / 100
            )  # they come as fast as one can, but the queue of the socket is not what is tested
    await asyncio.gather(*tasks)
    return lasted


async def _drip_a_head(case: Case, client: Client, seconds: float) -> None:
    await client.send(b"GET %s/slow HTTP/1.1\r\n%s\r\n" % (case.prefix, case.host))
    with suppress(ConnectionError):
        async for _ in slowly(1_000, seconds / 2.5):
            await client.send(b"X-A: 1\r\n")


async def _stop_in_a_head(case: Case, client: Client, seconds: float) -> None:
    await client.send(b"GET %s/slow HT" % case.prefix)


async def _stop_in_a_body(case: Case, client: Client, seconds: float) -> None:
    await client.send(case.request(b"Content-Length: 1000", method=b"POST", target=b"/slow", body=b"x" * 10))
