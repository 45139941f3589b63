"""Mutants of responses over real sockets: what `poison` does in memory, to the product in a process of its own.

Sockets have no moment in which everything has happened. So an upstream that is left open has sent a whole response, one
that has not says FIN or resets, and what lies behind a response arrives with it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.fuzz import poison, strict
from tests.fuzz.campaign import Poison, Tally, Violation
from tests.fuzz.oracles import h11_response
from tests.fuzz.poison import AFTERWARDS, Got, Relayed, judged
from tests.fuzz.readings import Rest
from tests.support.deadline import awaiting
from tests.support.upstream import reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.node import Node
    from tests.fuzz.readings import Message
    from tests.fuzz.sockets import Crew, Worker

_PATIENCE: Final = 45.0  # seconds that a response may take on a busy machine


def fitted(mutant: Poison) -> Poison:
    """Return the mutant as it can be sent over sockets."""
    joined = b"".join(mutant.pieces)
    reading, by_close = strict.response(joined, mutant.method, ended=True)
    whole = bool(reading.messages) and not reading.messages[-1].start[0].startswith(b"1") and not by_close
    if not whole:
        return mutant if mutant.end != "open" else replace(mutant, end="fin")
    return mutant if reading.rest is Rest.NOTHING else replace(mutant, pieces=(joined,))


class _Client(asyncio.Protocol):
    """A client that keeps what comes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = self.cut = False
        self.changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()

    def eof_received(self) -> None:
        self.ended = True
        self.changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.cut = error is not None
        self.ended = not self.cut
        self.changed.set()

    async def got(self, method: bytes) -> Got:
        """Wait until a response is whole, or the stream has ended."""
        async with awaiting("a response", _PATIENCE):
            while not (self.ended or self.cut):
                reading = h11_response(bytes(self.received), method, ended=False)
                if reading.rest is not Rest.PARTIAL or self._is_tunnel or _is_behind(reading.messages):
                    break
                self.changed.clear()
                await self.changed.wait()
        return Got(bytes(self.received), ended=self.ended, cut=self.cut)

    @property
    def _is_tunnel(self) -> bool:
        return self.received.startswith(b"HTTP/1.1 101 ") and b"\r\n\r\n" in self.received


def _is_behind(messages: tuple[Message, ...]) -> bool:
    """Whether what is left over lies behind a whole response."""
    return any(not message.start[0].startswith(b"1") for message in messages)


async def _send(worker: Worker, mutant: Poison, address: tuple[str, int]) -> Relayed:
    """Ask three times; return what came."""
    worker.armed = mutant
    worker.numbers.clear()
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(_Client, *address)
    later = []
    try:
        transport.write(worker.own(mutant.asked))
        first = await client.got(mutant.method)
        says_close = b"\r\nConnection: close\r\n" in first.data
        stays = not (first.ended or first.cut or says_close) and not first.data.startswith(b"HTTP/1.1 101 ")
        if stays and mutant.end == "open" and worker.armed is None:
            later.append(await _ask(worker, client, transport))
    finally:
        transport.abort()
    fresh, line = await loop.create_connection(_Client, *address)
    try:
        later.append(await _ask(worker, line, fresh))
    finally:
        fresh.abort()
    for stream in worker.used:
        stream.received.clear()
    worker.used.clear()
    return Relayed(mutant, first, tuple(later))


async def _ask(worker: Worker, client: _Client, transport: asyncio.Transport) -> tuple[Got, int]:
    client.received.clear()
    before = len(worker.numbers)
    transport.write(worker.own(AFTERWARDS))
    got = await client.got(b"GET")
    return got, worker.numbers[-1] if len(worker.numbers) == before + 1 else -1


async def answer(mutant: Poison, transport: asyncio.Transport) -> None:
    """Be the upstream whose response the mutant is."""
    for piece in mutant.pieces:
        if transport.is_closing():
            return
        transport.write(piece)
        await asyncio.sleep(0)
    if transport.is_closing():
        return
    if mutant.end == "fin":
        with suppress(OSError):
            transport.write_eof()
    elif mutant.end == "reset":
        reset(transport)


async def run(crew: Crew, node: Node | None, mutants: int, seed: int, first: int = 0) -> Tally:
    """Have every worker ask for its share."""
    tally = Tally()
    asked: list[Relayed] = []
    pending = iter(poison.at_random(seed, first, mutants))
    await asyncio.gather(*(_work(crew, worker, pending, tally, asked) for worker in crew.workers))
    for worker in crew.workers:
        worker.end_streams()  # a stream that answered one thing answers no other request
    if node is not None:
        shown = [(each.first.data, each.poison.method, each.first.ended) for each in asked]
        for relayed, found in zip(asked, await node.responses(shown), strict=True):
            if faults := tuple(poison.of_node(relayed, found)):
                tally.violations.append(Violation(relayed.poison, faults))
    return tally


async def _work(crew: Crew, worker: Worker, pending: Iterator[Poison], tally: Tally, asked: list[Relayed]) -> None:
    for made in pending:
        mutant = fitted(made)
        try:
            relayed = await _send(worker, mutant, crew.process.reverse)
        except AssertionError as error:  # it took too long
            tally.violations.append(Violation(mutant, (str(error),)))
            continue
        faults = judged(relayed)
        poison.count(tally, relayed)
        if faults:
            tally.violations.append(Violation(mutant, tuple(faults)))
        elif relayed.first.data and not relayed.first.data.startswith(b"HTTP/1.1 101 "):
            asked.append(relayed)
