"""Good requests beside a case: in seeded random moments, on fresh and on kept streams, each held to its own response.

They go to a connection of their own of the same process. Each is answered 200 with what it sent, and reaches its
upstream once, with that connection's token.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import TYPE_CHECKING, Final

from tests.support import seen
from tests.support.client import Client
from tests.support.scripts import response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.upstream import Request

NAME: Final = "beside"
COUNTS: Final = ("good requests", "lost", "leaks")
# The steps of a case take parts of a millisecond to a few; a pause is to fall between any two of them. Where a case
# lasts the pauses grow with it, so that each has a few good requests and none has thousands.
_PAUSE: Final = 0.004
_OF_THE_CASE: Final = 0.25
_LARGE: Final = 96 * 1024  # beyond what sockets hold for a client that reads slowly
_CHOSEN: Final = {"seed": 0, "measure": 0}


class _End(Enum):
    GOOD = auto()
    AT_REST = (
        auto()
    )  # the proxy had closed the kept stream before it saw the request: another one, as every client does
    ENDED = auto()  # the process was told to end
    LOST = auto()


@dataclass(frozen=True)
class _Asked:
    name: bytes
    pieces: list[bytes]
    method: str
    body: bytes


def configure(seed: int, *, measure: bool = False) -> None:
    """Say by which seed the moments are chosen, 0 for no traffic; and whether to measure how event loops lag."""
    _CHOSEN.update(seed=seed, measure=measure)


def seed() -> int:
    """Return the seed, 0 for no traffic."""
    return _CHOSEN["seed"]


def measures() -> bool:
    """Return whether to measure how event loops lag."""
    return bool(_CHOSEN["measure"])


class Beside:
    """The upstream and the clients of the good requests of one process.

    `gentle` is for a process with short limits: nothing is sent or read slowly on purpose. `ended` says whether the
    process has been told to end.
    """

    def __init__(self, address: tuple[str, int], *, gentle: bool, ended: Callable[[], bool]) -> None:
        self._address = address
        self._gentle = gentle
        self._ended = ended
        self._numbers = count(1)
        self._reached: dict[bytes, int] = {}
        self.strangers: list[bytes] = []

    async def answer(self, request: Request) -> None:
        """Be the upstream: answer with what came, and keep what should not have come."""
        name = b"".join(request.values(b"x-id"))
        body = await request.read_body()
        self._reached[name] = self._reached.get(name, 0) + 1
        if not request.token.startswith(f"canary-token-{NAME}-") or not name:
            self.strangers.append(request.head)
        if request.target.endswith(b"/large"):
            body = _large(name)
        await request.send(response(body, b"X-Id: " + name))

    @asynccontextmanager
    async def going(self, test: str) -> AsyncIterator[None]:
        """Send good requests while the block lasts; fail afterwards where one was lost or came to the wrong place."""
        said = random.Random(f"{seed()} {test}")
        stop = asyncio.Event()
        faults: list[str] = []
        with seen.unseen():
            lanes = [
                asyncio.create_task(self._lane(random.Random(said.random()), stop, faults, keeps), name=f"good {keeps}")
                for keeps in (True, False)
            ]
        try:
            yield
        finally:
            stop.set()
            told = seen.now().beside
            counts = (sum([await lane for lane in lanes]), len(faults), len(self.strangers))
            for name, number in zip(COUNTS, counts, strict=True):
                told[name] = told.get(name, 0) + number
        assert not faults, f"good requests were lost: {faults}"
        assert not self.strangers, f"what did not belong to their upstream came there: {self.strangers}"

    async def _lane(self, said: random.Random, stop: asyncio.Event, faults: list[str], keeps: bool) -> int:
        good = 0
        client: Client | None = None
        end = _End.GOOD
        began = asyncio.get_running_loop().time()
        while end is _End.GOOD or end is _End.AT_REST:
            used = client is not None
            try:
                client = client or await Client.connect(self._address, receive_buffer=None if keeps else 16_384)
                end = await self._exchange(client, said, faults, used=used)
            except OSError as error:
                end = self._failed(faults, f"no stream: {error!r}")
            good += end is _End.GOOD
            if client is not None and not (keeps and end is _End.GOOD):
                await client.close()
                client = None
            if stop.is_set() and end is not _End.AT_REST:
                break
            lasted = asyncio.get_running_loop().time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), said.random() * max(_PAUSE, _OF_THE_CASE * lasted))
            if stop.is_set():
                break
        if client is not None:
            await client.close()
        return good

    async def _exchange(self, client: Client, said: random.Random, faults: list[str], *, used: bool) -> _End:
        asked = self._ask(said)
        client.received = b""
        try:
            for piece in asked.pieces:
                await client.send(piece)
                if not self._gentle:
                    await _pause(said)
            answered = await client.response(asked.method)
        except (OSError, AssertionError) as error:
            if used and asked.name not in self._reached and not client.received:
                return _End.AT_REST
            return self._failed(faults, f"{asked.name!r}: {error!r}")
        got = (answered.status, answered.values(b"x-id"), answered.body == asked.body, self._reached.get(asked.name))
        if got != (200, [asked.name], True, 1) or not answered.complete:
            return self._failed(faults, f"{asked.name!r}: {got} {answered.body[:300]!r}")
        return _End.GOOD

    def _failed(self, faults: list[str], what: str) -> _End:
        if self._ended():
            return _End.ENDED
        faults.append(what)
        return _End.LOST

    def _ask(self, said: random.Random) -> _Asked:
        name = b"good-%d" % next(self._numbers)
        kind = said.choice(("get", "length", "chunked", "large"))
        host = b"Host: %s:%d\r\nX-Id: %s\r\n" % (self._address[0].encode(), self._address[1], name)
        body = name + said.randbytes(said.choice((0, 10, 3_000, 40_000)))
        path = f"/{NAME}/{kind}".encode()
        match kind:
            case "length":
                raw = b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (path, host, len(body), body)
            case "chunked":
                chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                raw = b"POST %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (path, host, chunks)
            case _:
                raw = b"GET %s HTTP/1.1\r\n%s\r\n" % (path, host)
                body = _large(name) if kind == "large" else b""
        cuts = [] if self._gentle else sorted(said.randrange(len(raw)) for _ in range(said.randrange(3)))
        pieces = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if begin < end]
        return _Asked(name, pieces, raw.split(b" ", 1)[0].decode(), body)


def _large(name: bytes) -> bytes:
    return (name + b"\n") * (_LARGE // (len(name) + 1))


async def _pause(said: random.Random) -> None:
    await asyncio.sleep(said.random() * _PAUSE)
