"""Kills the product at each moment of a rotation, starts it again, and asks the authorization server what it saw.

Nothing in the product helps: the server holds an answer, the process is stopped, or strace ends it at a system call.
"""

from __future__ import annotations

import asyncio
import base64
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.history import Kind, Verdict, judge
from tests.chaos.relay import Cut, Relay
from tests.chaos.rotation import Hold, RotatingServer, parts
from tests.chaos.tracing import killed_at
from tests.support.client import Client
from tests.support.deadline import awaiting
from tests.support.figures import Figure
from tests.support.process import Process
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.support.client import Response
    from tests.support.redis_server import RedisServer

KEY: Final = base64.b64encode(bytes(range(32))).decode()
# How often it is asked again where nothing may be asked of the server any more.
_IN_VAIN: Final = 3


class Point(StrEnum):
    """The marked points of a rotation."""

    UNSENT = "before the request is sent"
    SENT = "after it is sent"
    RECEIVED = "after the answer is received, before it is stored"
    STORED = "after it is stored, before the token is used"
    USED = "after the token is used"


@dataclass(frozen=True)
class Way:
    """One way to hit a point. `committed`: the server rotated; `stored`: what it answered is kept."""

    point: Point
    name: str
    kill: Callable[[Victim], Awaitable[None]]
    committed: bool
    stored: bool = False


@dataclass
class Victim:
    """One product after the other on the same store, a server and an upstream that remember."""

    folder: Path
    server: RotatingServer
    upstream: Upstream
    store: dict[str, Any]
    relay: Relay | None = None
    families: int = 0
    family: str = ""
    seed: str = ""
    destroyed: set[tuple[str, int]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    starts: int = 0

    @property
    def grants(self) -> Path:
        """The folder of a store on disk."""
        return self.folder / "grants"

    async def start(self) -> None:
        """Start the product; it asks for nothing before it is asked."""
        environment = {"CLIENT_SECRET": "canary-secret", "SEED": self.seed, "ICLIENT_PROXY_KEY": KEY}
        self.process = await Process.start(self._definitions(), self.folder, environment)
        self.starts += 1
        await self.process.until_listening()

    def plant(self) -> None:
        """Have the operator bring another grant."""
        self.families += 1
        self.family = f"f{self.families}"
        self.seed = self.server.seed(self.family)

    async def end(self) -> None:
        """Stop the product, if it is still there, and hold it to what no process may write."""
        await self.process.stop()
        self.process.assert_clean()

    async def ask(self) -> Response:
        """Send a request through the product."""
        client = await Client.connect(self.process.reverse)
        try:
            return await client.ask(b"GET /crm/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        finally:
            await client.close()

    async def renew(self) -> Response:
        """Ask for a renewal, and wait for its end."""
        return await self.process.admin_post("/api/connections/crm/renew")

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Have a renewal begin; the product ends inside the block, or right after it."""
        asking = asyncio.create_task(self.renew(), name="renew")
        try:
            yield
            status = await self.process.exit_status()
            if status != -signal.SIGKILL:
                self.faults.append(f"it was to be killed, and ended with {status}")
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _definitions(self) -> dict[str, Any]:
        crm = {
            "base_url": f"http://127.0.0.1:{self.upstream.port}",
            "prefetch": False,
            "refresh_token": {"env": "SEED"},
            "iclient": {
                "grant_type": "refresh_token",
                "client_id": "app",
                "client_secret": {"env": "CLIENT_SECRET"},
                "token_url": self.server.url,
                "valid_domains": [self.server.authority],
                "allow_insecure": True,
            },
        }
        return {
            "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
            # In Redis a turn outlives its holder by `token_total` and 5 s, and the next start waits for its end.
            "limits": {"backoff": {"min": "10ms", "max": "1s"}, "token_total": "3s"},
            "shutdown": {"drain_delay": "10ms", "grace": "1s"},
            "store": self.store,
            "connections": {"crm": crm},
        }


# ---------------------------------------------------------------------------------------------------- ways to a point


async def _at_connect(victim: Victim) -> None:
    async with killed_at(victim.process.pid, "connect"), victim.renewing():
        pass


async def _forgotten(victim: Victim) -> None:
    await _held(victim, Hold(commits=False))


async def _committed_late(victim: Victim) -> None:
    await _held(victim, Hold(answers=False))


async def _held(victim: Victim, hold: Hold) -> None:
    """The request is there whole, and nothing has come of it when the process dies."""
    victim.server.hold(hold)
    async with victim.renewing():
        await _reached(hold.arrived)
        victim.process.signal(signal.SIGKILL)
    hold.commit.set()
    hold.answer.set()
    if hold.commits:
        await _reached(hold.committed)
    await victim.server.is_quiet()


async def _unanswered(victim: Victim) -> None:
    async with _committed(victim) as hold:
        hold.answers = False
        victim.process.signal(signal.SIGKILL)


async def _unread(victim: Victim) -> None:
    async with _committed(victim) as hold, victim.process.frozen():
        hold.answer.set()
        await victim.server.answered()
        victim.process.signal(signal.SIGKILL)


async def _at_first_sync(victim: Victim) -> None:
    await _at(victim, "fsync")


async def _at_rename(victim: Victim) -> None:
    await _at(victim, "rename", "renameat", "renameat2")


async def _at_second_sync(victim: Victim) -> None:
    await _at(victim, "fsync", number=2)


async def _synced(victim: Victim) -> None:
    await _at(victim, "close", on=victim.grants)


async def _at(victim: Victim, *calls: str, number: int = 1, on: Path | None = None) -> None:
    """The answer comes, and the process dies at one of the calls by which it is stored."""
    async with _committed(victim) as hold, killed_at(victim.process.pid, *calls, number=number, on=on):
        hold.answer.set()


@asynccontextmanager
async def _committed(victim: Victim) -> AsyncIterator[Hold]:
    """Have a renewal begin that the server has committed to and not answered yet; the process ends in the block."""
    hold = victim.server.hold(Hold())
    hold.commit.set()
    async with victim.renewing():
        await _reached(hold.committed)
        yield hold
    hold.answer.set()
    await victim.server.is_quiet()


async def _used(victim: Victim) -> None:
    answer = await victim.renew()
    if answer.status != 200:
        victim.faults.append(f"a renewal with nothing in its way: {answer.status} {answer.body!r}")
    await victim.ask()
    victim.process.signal(signal.SIGKILL)
    await victim.process.exit_status()


async def _reached(event: asyncio.Event) -> None:
    async with awaiting("the token request"):
        await event.wait()


async def _save_lost(victim: Victim) -> None:
    await _cut(victim, Cut.COMMANDS)


async def _reply_lost(victim: Victim) -> None:
    await _cut(victim, Cut.REPLIES)


async def _cut(victim: Victim, cut: Cut) -> None:
    """The answer comes, and the process dies while it waits for Redis to have kept it."""
    relay = victim.relay
    assert relay is not None
    async with _committed(victim) as hold:
        relay.lose(cut)
        hold.answer.set()
        async with awaiting("a save"):
            await relay.saving.wait()
        victim.process.signal(signal.SIGKILL)
    relay.lose(Cut.NOTHING)


ANYWHERE: Final = (
    Way(Point.UNSENT, "at connect()", _at_connect, committed=False),
    Way(Point.SENT, "the server forgets it", _forgotten, committed=False),
    Way(Point.SENT, "the server commits after the kill", _committed_late, committed=True),
    Way(Point.SENT, "the server has committed", _unanswered, committed=True),
    Way(Point.RECEIVED, "in the socket of a stopped process", _unread, committed=True),
    Way(Point.USED, "the upstream has seen it", _used, committed=True, stored=True),
)
ON_DISK: Final = (
    *ANYWHERE,
    Way(Point.RECEIVED, "at fsync() of the new file", _at_first_sync, committed=True),
    Way(Point.RECEIVED, "at rename()", _at_rename, committed=True),
    Way(Point.STORED, "at fsync() of the folder", _at_second_sync, committed=True, stored=True),
    Way(Point.STORED, "folder synced", _synced, committed=True, stored=True),
)
IN_REDIS: Final = (
    *ANYWHERE,
    Way(Point.RECEIVED, "Redis never hears of it", _save_lost, committed=True),
    Way(Point.STORED, "Redis has it, its reply is lost", _reply_lost, committed=True, stored=True),
)

# ------------------------------------------------------------------------------------------------------------ the hunt


@dataclass(frozen=True)
class Hunt:
    """What came of many kills, by way; `faults` is everything that may not have happened."""

    kills: Counter[Way]
    starts: int
    verdict: Verdict
    faults: tuple[str, ...]


async def hunt(victim: Victim, ways: Sequence[Way], times: int, *, seed: int = 1) -> Hunt:
    """Kill the product so many times at each point, in each of its ways in turn; all of them in a random order."""
    order = [way for point in Point for way in islice(cycle(way for way in ways if way.point is point), times)]
    random.Random(seed).shuffle(order)
    kills: Counter[Way] = Counter()
    victim.plant()
    await victim.start()
    try:
        await _serves(victim, 0, "the first start")
        for way in order:
            generation = victim.server.generation(victim.family)
            await way.kill(victim)
            kills[way] += 1
            victim.process.assert_clean()
            if way.committed and not way.stored:
                victim.destroyed.add((victim.family, generation))
            await victim.start()
            await _recovers(victim, way, generation)
    finally:
        await victim.end()
    verdict = judge(victim.server.history, victim.destroyed)
    return Hunt(kills, victim.starts, verdict, (*victim.faults, *verdict.faults))


async def _recovers(victim: Victim, way: Way, generation: int) -> None:
    """Hold the next start to what the kill allows: the next token, or the same once more, or the end of the grant."""
    words = f"{way.point}, {way.name}"
    if not way.committed or way.stored or victim.server.grace:
        await _serves(victim, generation + 1 if way.stored else generation, words)
        return
    before = len(victim.server.history)
    if victim.relay is not None:
        await victim.ask()  # it may find an access token that was stored
    for _ in range(_IN_VAIN):
        answer = await (victim.ask() if victim.relay is None else victim.renew())
        if answer.status == 200 or b"authorization_required" not in answer.body:
            victim.faults.append(f"{words}: a grant that is lost is answered {answer.status} {answer.body!r}")
    uses = [each.generation for each in victim.server.history[before:] if each.kind is Kind.USED]
    if uses != [generation]:
        victim.faults.append(f"{words}: after the loss of {generation} the server was asked with {uses}")
    await victim.end()
    victim.plant()
    await victim.start()
    await _serves(victim, 0, f"a new grant after: {words}")


async def _serves(victim: Victim, generation: int, words: str) -> None:
    """Ask twice; that makes one token request with the refresh token of that generation, and the store is whole.

    Where access tokens are stored, too, the first request may find one: then a renewal is asked for.
    """
    before = len(victim.server.uses(victim.family))
    for _ in range(2):
        answer = await victim.ask()
        if len(victim.server.uses(victim.family)) == before:
            await victim.renew()
        if answer.status != 200:
            victim.faults.append(f"{words}: the next start answers {answer.status} {answer.body!r}")
    used = victim.server.uses(victim.family)[before:]
    if used != [generation]:
        victim.faults.append(f"{words}: the next start asked with {used}, not with {generation}")
    family, sent = parts(victim.upstream.requests[-1].token)
    if (family, sent) != (victim.family, victim.server.generation(family)):
        victim.faults.append(f"{words}: the upstream saw {family} {sent}")
    broken = [said for said in victim.process.logged("store") if said["outcome"] != "available"]
    if broken:
        victim.faults.append(f"{words}: the store is not whole: {broken}")


@asynccontextmanager
async def victim_on_disk(folder: Path, *, grace: bool) -> AsyncIterator[Victim]:
    """Have a victim with a store below its folder."""
    async with _victim(folder, {"kind": "file", "path": str(folder / "grants")}, grace=grace) as victim:
        yield victim


@asynccontextmanager
async def victim_in_redis(folder: Path, redis: RedisServer, *, grace: bool) -> AsyncIterator[Victim]:
    """Have a victim with a namespace of its own in that server."""
    async with Relay(redis.path) as relay:
        store = {"kind": "redis", "url": relay.url, "namespace": folder.name}
        async with _victim(folder, store, grace=grace, relay=relay) as victim:
            yield victim


@asynccontextmanager
async def _victim(
    folder: Path, store: dict[str, Any], *, grace: bool, relay: Relay | None = None
) -> AsyncIterator[Victim]:
    upstream = Upstream(listen())
    await upstream.start()
    try:
        async with RotatingServer(grace=grace) as server:
            yield Victim(folder, server, upstream, store, relay)
    finally:
        await upstream.close()


def figures(hunts: Sequence[Hunt], where: str) -> list[Figure]:
    """Return what came of these hunts, point by point."""
    kills: Counter[Way] = sum((each.kills for each in hunts), Counter())
    faults = [fault for each in hunts for fault in each.faults]
    lost = sum(each.verdict.lost for each in hunts)
    rows = [
        Figure(f"kill -9, {where}: {point}", str(sum(number for way, number in kills.items() if way.point is point)))
        for point in Point
    ]
    return [
        *rows,
        Figure(
            f"loops, corrupt stores, uses beyond the one permitted, grants lost although their answer was stored, in "
            f"{sum(kills.values())} kills and {sum(each.starts for each in hunts)} starts",
            str(len(faults)), "0", not faults,
        ),
        Figure("second uses of a refresh token, each after an answer that was destroyed or never made",
               str(sum(each.verdict.repeated for each in hunts))),
        Figure("grants lost: the server had committed, forgives no reuse, and its answer was never stored", str(lost)),
    ]  # fmt: skip
