"""Rolling restarts of two replicas behind a real HAProxy under an open loop of requests: nobody notices.

HAProxy asks each replica's `/readyz`, which is on another loopback address than its requests, as in a pod. One replica
is sent SIGTERM, ends, is started anew; once HAProxy finds it well, the other one's turn comes. Two ways: HAProxy reads
HTTP and has a pool of its own, or it passes TCP on and the clients' streams go through to the replicas.
"""

from __future__ import annotations

import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from tests.nightly.openloop import Load
from tests.support.deadline import eventually
from tests.support.figures import Figure
from tests.support.haproxy import haproxy
from tests.support.process import Process
from tests.support.scripts import OK_BODY, response
from tests.support.stage import SECRET, TokenEndpoint
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nightly.openloop import Failure
    from tests.support.process import Address
    from tests.support.upstream import Request

RESTARTS: Final = 20  # of both replicas, one after the other
RATE: Final = 300.0
NAMES: Final = ("a", "b")
MODES: Final = ("http", "tcp")
_NUMBERS: Final = cycle(range(1, 250))
# HAProxy asks every 200 ms: five times before the listener closes.
DRAIN_DELAY: Final = "1s"


@dataclass(frozen=True)
class Seen:
    """What became of the requests; `repeated` were sent to the upstream more than once, `unclean` ends are not 0."""

    mode: str
    restarts: int
    requests: int
    failed: int
    failures: tuple[Failure, ...]
    repeated: int
    unclean: int
    cut: int
    milliseconds: tuple[float, float]


class _Fleet:
    """Two replicas, the upstream and the token endpoint; `asked` counts what came to the upstream by its target."""

    def __init__(self, folder: Path, drain_delay: str) -> None:
        for name in NAMES:
            (folder / name).mkdir(parents=True)
        self.folder = folder
        self.drain_delay = drain_delay
        self.tokens = TokenEndpoint()
        self.upstream = Upstream(listen())
        self.upstream.always(self._answer)
        self.processes: dict[str, Process] = {}
        self.asked: dict[bytes, int] = {}
        self.unclean = 0
        self.cut = 0
        # Addresses of their own: no other test takes their ports while a replica is away.
        first, second = next(_NUMBERS), next(_NUMBERS)
        own = f"127.{os.getpid() % 250 + 1}"
        self.serving: dict[str, Address] = {name: _free(f"{own}.{first}.{n}") for n, name in enumerate(NAMES, 1)}
        self.health: dict[str, Address] = {name: _free(f"{own}.{second}.{n}") for n, name in enumerate(NAMES, 1)}

    async def _answer(self, request: Request) -> None:
        await request.read_body()
        self.asked[request.target] = self.asked.get(request.target, 0) + 1
        good = request.token.startswith("canary-token-")
        await request.send(response() if good else response(b"no token", status=b"401 Unauthorized"))
        self.upstream.requests.clear()

    async def start(self, name: str) -> None:
        """Start a replica; return when it is ready."""
        folder = self.folder / name
        process = self.processes[name] = await Process.start(self._definitions(name), folder, {"CLIENT_SECRET": SECRET})
        await process.until_listening()

        async def is_ready() -> bool:
            return (await process.admin_get("/readyz")).status == 200

        await eventually(f"replica {name} to be ready", is_ready)

    async def stop(self, name: str) -> None:
        """Send SIGTERM and wait for the end."""
        process = self.processes.pop(name)
        self.unclean += await process.stop() != 0
        process.assert_clean()
        self.cut += sum(line["streams_cut"] for line in process.logged("stopped"))

    async def stop_all(self) -> None:
        for name in list(self.processes):
            await self.stop(name)

    def _definitions(self, name: str) -> dict[str, Any]:
        return {
            "listeners": {
                "reverse": {"bind": "{}:{}".format(*self.serving[name]), "allowed_hosts": ["shop.example"]},
                "admin": {"bind": "{}:{}".format(*self.health[name])},
            },
            "log": {"access": False},
            "shutdown": {"drain_delay": self.drain_delay, "grace": "10s"},
            "connections": {
                "c0": {
                    "base_url": f"http://127.0.0.1:{self.upstream.port}",
                    "required": True,
                    "iclient": {
                        "grant_type": "client_credentials",
                        "token_url": self.tokens.url,
                        "client_id": name,
                        "client_secret": {"env": "CLIENT_SECRET"},
                        "valid_domains": [self.tokens.authority],
                        "allow_insecure": True,
                    },
                }
            },
        }


def _free(host: str) -> Address:
    with socket.create_server((host, 0)) as probe:
        return host, probe.getsockname()[1]


def _request(number: int) -> bytes:
    return b"GET /c0/%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % number


async def roll(
    folder: Path, restarts: int, rate: float = RATE, mode: str = "http", drain_delay: str = DRAIN_DELAY
) -> Seen:
    """Restart both replicas so many times, one after the other, while requests come at that rate."""
    async with AsyncExitStack() as after:
        fleet = _Fleet(folder, drain_delay)
        await fleet.tokens.start()
        after.push_async_callback(fleet.tokens.close)
        await fleet.upstream.start()
        after.push_async_callback(fleet.upstream.close)
        after.push_async_callback(fleet.stop_all)
        for name in NAMES:
            await fleet.start(name)
        places = {name: (fleet.serving[name], fleet.health[name]) for name in NAMES}
        balancer = await after.enter_async_context(haproxy(folder, _free("127.0.0.1")[1], places, mode))
        await balancer.until_up(*NAMES)
        load = Load([balancer.address], rate, _request, lambda status, body: (status, body) == (200, OK_BODY))
        load.begin()
        for _ in range(restarts):
            for name in NAMES:
                await fleet.stop(name)
                await fleet.start(name)
                await balancer.until_up(*NAMES)
        await load.end()
        repeated = sum(times > 1 for times in fleet.asked.values())
        return Seen(
            mode,
            restarts,
            load.sent,
            load.failed,
            tuple(load.failures),
            repeated,
            fleet.unclean,
            fleet.cut,
            (load.quantile(0.5), load.quantile(0.99)),
        )


def figures(seen: Seen) -> list[Figure]:
    """Return what came of it."""
    way = "HAProxy reads HTTP" if seen.mode == "http" else "HAProxy passes TCP on"
    middle, high = seen.milliseconds
    return [
        Figure(
            f"{seen.restarts} rolling restarts of two replicas ({2 * seen.restarts} processes), {way}: failed, of "
            f"{seen.requests} requests",
            str(seen.failed), "0", not seen.failed and seen.restarts > 0,
        ),
        Figure("of them: sent to the upstream twice; ends other than 0; streams cut",
               f"{seen.repeated}; {seen.unclean}; {seen.cut}", "0; 0; 0",
               not (seen.repeated or seen.unclean or seen.cut)),
        Figure("milliseconds from when a request was due to its answer: median, p99", f"{middle:.1f}, {high:.1f}"),
    ]  # fmt: skip


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Roll both ways; nothing here is random."""
    restarts = max(1, round(RESTARTS * scale))
    found: list[Figure] = []
    for mode in MODES:
        seen = await roll(folder / mode, restarts, mode=mode)
        found += figures(seen)
        for failure in seen.failures:
            found.append(Figure(f"request {failure.number}", failure.why))
    return found
