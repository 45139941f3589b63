"""Three replicas that share their grants by a Redis server, under load, and what the servers see of them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict, deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.history import Kind, judge
from tests.chaos.kills import KEY
from tests.chaos.pacing import until
from tests.chaos.rotation import RotatingServer, parts
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.figures import Figure
from tests.support.process import Process
from tests.support.redis_server import RedisServer, redis_server
from tests.support.scripts import response
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.upstream import Request

NAMES: Final = ("r1", "r2", "r3")
MOST_REQUESTS: Final = 1.02  # token requests for each expiry
LATEST: Final = 0.5  # seconds from the answer until every replica sends the new token
_PACE: Final = 0.1  # seconds between two requests to one connection by one replica


@dataclass(frozen=True)
class Sent:
    """One request that the upstream got: when, from which replica, with which token."""

    at: float
    replica: str
    family: str
    generation: int


@dataclass
class Crew:
    """The replicas and what is around them.

    `answers` counts, for each connection, what callers got, by status; `clocks` are the files that set the clocks.
    """

    folder: Path
    server: RotatingServer
    upstream: Upstream
    redis: RedisServer
    connections: dict[str, dict[str, Any]]
    token_total: str
    own_clocks: bool
    clocks: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def start(self, name: str) -> None:
        """Start a replica, with the definitions that all have."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        environment = {
            "CLIENT_SECRET": "canary-secret",
            "ICLIENT_PROXY_KEY": KEY,
            **{f"SEED_{family}": f"canary-r-{family}-0" for family in self.connections},
            **self._clock(name),
        }
        process = await Process.start(self._definitions(name), folder, environment)
        try:
            await process.until_listening()
        except AssertionError:
            await process.stop()
            raise
        self.processes[name] = process  # not before: the load looks for its listener here

    async def stop(self, name: str) -> None:
        """End a replica, however it is, and hold it to what no process may write."""
        await self.processes[name].stop()
        self.processes[name].assert_clean()

    async def ask(self, name: str, family: str) -> int:
        """Send one request through a replica, on a stream of its own; return the status."""
        client = await Client.connect(self.processes[name].reverse)
        try:
            return (await client.ask(_request(name, family))).status
        finally:
            await client.close()

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """For the block, have every replica asked for every connection, ten times a second."""
        loads = [
            asyncio.create_task(self._load(name, family, number * _PACE / 7), name=f"load of {family} by {name}")
            for number, (name, family) in enumerate(itertools.product(NAMES, self.connections))
        ]
        try:
            yield
        finally:
            for load in loads:
                load.cancel()
            for outcome in await asyncio.gather(*loads, return_exceptions=True):
                if not isinstance(outcome, asyncio.CancelledError):
                    raise outcome or AssertionError("a load has ended")

    async def note(self, request: Request) -> None:
        """What the upstream does: it looks at the token, and answers."""
        family, generation = parts(request.token)
        name = request.target.decode().removeprefix("/")
        self.sent.append(Sent(asyncio.get_running_loop().time(), name, family, generation))
        await request.send(response())

    async def _load(self, name: str, family: str, offset: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + offset % _PACE
        client: Client | None = None
        try:
            while True:
                await until(at)
                at = max(at + _PACE, loop.time())
                try:
                    client = client or await Client.connect(self.processes[name].reverse)
                    await client.send(_request(name, family))
                    status = await _status(client)
                except OSError:
                    status = ""
                self.answers[family][status or "no stream"] += 1
                if not status and client is not None:
                    await client.close()
                    client = None
        finally:
            if client is not None:
                await client.close()

    def _clock(self, name: str) -> dict[str, str]:
        """Let the wall clock of a replica be ahead by what a file of its own says, where libfaketime is at hand."""
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        if library is None or not self.own_clocks:
            return {}
        self.clocks[name] = self.folder / f"{name}.clock"
        self.clocks[name].write_text("+0\n")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clocks[name]),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _definitions(self, name: str) -> dict[str, Any]:
        return {
            "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
            "log": {"access": False},
            "limits": {"token_total": self.token_total},
            "shutdown": {"drain_delay": "10ms", "grace": "1s"},
            "store": {"kind": "redis", "url": self.redis.url, "namespace": "chaos"},
            "connections": {
                family: {
                    "base_url": f"http://127.0.0.1:{self.upstream.port}",
                    "refresh_token": {"env": f"SEED_{family}"},
                    "iclient": {
                        "grant_type": "refresh_token",
                        "client_id": "app",
                        "client_secret": {"env": "CLIENT_SECRET"},
                        "token_url": self.server.url,
                        "valid_domains": [self.server.authority],
                        "allow_insecure": True,
                        "refresh_token_request": {"headers": {"X-Replica": name}},
                        **extra,
                    },
                }
                for family, extra in self.connections.items()
            },
        }


def _request(name: str, family: str) -> bytes:
    return f"GET /{family}/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def _status(client: Client) -> str:
    """Return the status of one response, read as bare bytes: an own parser would be slower than the product."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = await client.read()
        if not data:
            return ""
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < length:
        data = await client.read()
        if not data:
            return ""
        body += data
    return head[9:12].decode()


@asynccontextmanager
async def crew(
    folder: Path,
    connections: dict[str, dict[str, Any]],
    *,
    expires_in: int,
    grace: bool = False,
    token_total: str = "10s",
    own_clocks: bool = False,
) -> AsyncIterator[Crew]:
    """Have three replicas with these connections (what each iClient has beside the usual), and all that they need.

    `own_clocks`: the wall clock of each can be set, at the price of a slower process.
    """
    async with AsyncExitStack() as after:
        redis = await after.enter_async_context(redis_server())
        server = await after.enter_async_context(RotatingServer(grace=grace, expires_in=expires_in))
        for family in connections:
            server.seed(family)
        upstream = Upstream(listen())
        await upstream.start()
        after.push_async_callback(upstream.close)
        found = Crew(folder, server, upstream, redis, connections, token_total, own_clocks)
        upstream.always(found.note)
        for name in NAMES:
            after.push_async_callback(_end, found, name)
        await asyncio.gather(*(found.start(name) for name in NAMES))
        yield found


async def _end(crew: Crew, name: str) -> None:
    if name in crew.processes:
        await crew.stop(name)


# --------------------------------------------------------------------------------------------------- expiries together


@dataclass(frozen=True)
class Expiries:
    """What was seen while tokens expired at all replicas at once.

    `expired` counts requests that had a token past its end, `lags` are seconds, one for each renewal and replica.
    """

    expiries: int
    token_requests: int
    refused: int
    requests: int
    failed: int
    expired: int
    lags: tuple[float, ...]
    faults: tuple[str, ...]


async def expire_together(folder: Path, connections: int, expiries: int, *, expires_in: int = 3) -> Expiries:
    """Let tokens expire under load, `expiries` of them in all, until each of the connections has had its share.

    Half of the connections renew ahead of time; with the others the token is at its end everywhere in the same moment.
    """
    written = {f"c{number}": {"refresh_ahead": 0} if number % 2 else {} for number in range(connections)}
    each = -(-expiries // connections)
    async with crew(folder, written, expires_in=expires_in) as found:
        await eventually("a first token everywhere", lambda: _all_serve(found))
        begun = {family: found.server.generation(family) for family in written}
        at = len(found.server.history)
        async with found.under_load():
            await eventually(
                f"{each} renewals of each connection",
                lambda: all(found.server.generation(family) >= begun[family] + each for family in written),
                seconds=60 + 3.0 * expires_in * each,
            )
        history = found.server.history[at:]
        lags = lagging(found)
        counted = Counter(happened.kind for happened in history)
        answers = sum(found.answers.values(), Counter())
        return Expiries(
            counted[Kind.COMMITTED],
            counted[Kind.USED],
            counted[Kind.REFUSED],
            answers.total(),
            answers.total() - answers["200"],
            expired(found),
            tuple(lags),
            judge(found.server.history, ()).faults,
        )


async def _all_serve(crew: Crew) -> bool:
    statuses = [await crew.ask(name, family) for name in NAMES for family in crew.connections]
    return set(statuses) == {200}


def lagging(crew: Crew) -> list[float]:
    """Return for each renewal and replica the seconds from the server's answer to the first request with its token."""
    answered: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for each in crew.server.history:
        if each.kind is Kind.ANSWERED:
            answered[each.family].append((each.generation + 1, each.at))
    sent: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for one in crew.sent:
        sent[one.family, one.replica].append(one)
    lags = []
    for (family, _), its in sent.items():
        wanted = deque(answered[family])
        for one in its:
            while wanted and wanted[0][0] <= one.generation:
                lags.append(one.at - wanted.popleft()[1])
        # What came at the very end had no request after it.
        lags += [its[-1].at - at for _, at in wanted if its[-1].at > at]
    return sorted(lags)


def expired(crew: Crew) -> int:
    """Return how many requests reached the upstream with a token whose lifetime was over."""
    lifetime = crew.server.expires_in
    assert lifetime is not None
    answered = {
        (each.family, each.generation + 1): each.at for each in crew.server.history if each.kind is Kind.ANSWERED
    }
    return sum(sent.at > answered[sent.family, sent.generation] + lifetime for sent in crew.sent)


def figures(seen: Expiries) -> list[Figure]:
    """Return what came of it."""
    ratio = seen.token_requests / max(seen.expiries, 1)
    latest = max(seen.lags, default=0.0)
    middle = seen.lags[len(seen.lags) // 2] if seen.lags else 0.0
    return [
        Figure(
            f"token requests for each of {seen.expiries} expiries at three replicas at once, under load",
            f"{ratio:.3f}", f"≤ {MOST_REQUESTS}", ratio <= MOST_REQUESTS and seen.expiries > 0,
        ),
        Figure("`invalid_grant`, uses beyond the one permitted", f"{seen.refused}, {len(seen.faults)}", "0",
               not seen.refused and not seen.faults),
        Figure(f"requests that fail, of {seen.requests}", str(seen.failed), "0", not seen.failed),
        Figure("requests that reached the upstream with a token past its end", str(seen.expired)),
        Figure(
            "milliseconds from the server's answer to a replica's first request with the new token, at most "
            f"(median {middle * 1000:.0f}; a request comes every {_PACE * 1000:.0f})",
            f"{latest * 1000:.0f}", f"≤ {LATEST * 1000:.0f}", latest <= LATEST,
        ),
    ]  # fmt: skip
