"""What the proxy costs as a sidecar: at rest, at 500 requests a second, and how a reload of 1,000 connections is felt.

Measured in a control group of its own where this machine lets us make one, else by /proc. Load and servers are outside.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import trustme

from tests.chaos.pacing import lasting
from tests.nightly.openloop import Load
from tests.support.control_group import cgroup
from tests.support.deadline import eventually
from tests.support.figures import Figure
from tests.support.process import Process
from tests.support.scripts import OK_BODY, response
from tests.support.stage import SECRET, TokenEndpoint
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.control_group import Cgroup
    from tests.support.upstream import Request

RATE: Final = 500.0
SECONDS_AT_REST: Final = 120.0
SECONDS_BUSY: Final = 600.0
CONNECTIONS: Final = 1000
RELOADS: Final = 20
REST_MIB, REST_MILLICORES = 64.0, 5.0
BUSY_MIB, BUSY_MILLICORES = 96.0, 60.0
FELT_MS: Final = 10.0
_MIB: Final = 1 << 20
_IN_A_FILE: Final = 250
_USED: Final = 50  # of the thousand connections, that requests go to
_WINDOW: Final = 2.0  # seconds, of which one is before a reload
_SETTLED: Final = 3.0  # seconds from the start until there is nothing left of it
# Orchestrators ask for both every ten seconds, and monitoring every 30.
_PROBES: Final = ("/readyz", "/livez", "/metrics")
_PROBE_EVERY: Final = 10.0


class _Pod:
    """The sidecar, its upstream (over TLS or not), and the authorization server."""

    def __init__(self, folder: Path, connections: int, group: Cgroup | None, authority: trustme.CA | None) -> None:
        self.folder = folder
        self.connections = connections
        self.group = group
        self.tokens = TokenEndpoint()
        self._authority = authority
        self.upstream = Upstream(listen(), _server_side(authority) if authority is not None else None)
        self.upstream.always(self._answer)

    async def _answer(self, request: Request) -> None:
        await request.read_body()
        self.upstream.requests.clear()
        good = request.token.startswith("canary-token-")
        await request.send(response() if good else response(b"no token", status=b"401 Unauthorized"))

    async def start(self, after: AsyncExitStack) -> None:
        await self.tokens.start()
        after.push_async_callback(self.tokens.close)
        await self.upstream.start()
        after.push_async_callback(self.upstream.close)
        self.write("0")
        self.process = await Process.start(
            self._process_settings(), self.folder, {"CLIENT_SECRET": SECRET, "PYTHONWARNINGS": ""},
            within=self.group.within if self.group is not None else (), whole_folder=True,
            counted=b'{"event":"exchange"',
        )  # fmt: skip
        after.push_async_callback(self.process.stop)
        await self.process.until_listening()

    def write(self, version: str, *, everywhere: bool = False) -> None:
        """Write the connections, some in a file; `version` is a header of the last connection, or of all of them."""
        last = self.connections - 1
        for begin in range(0, self.connections, _IN_A_FILE):
            numbers = range(begin, min(begin + _IN_A_FILE, self.connections))
            connections = {
                f"c{number}": self._connection(version if everywhere or number == last else "0") for number in numbers
            }
            file = self.folder / f"connections-{begin}.yaml"
            text = json.dumps({"connections": connections})
            if not file.exists() or file.read_text() != text:
                beside = file.with_suffix(".new")
                beside.write_text(text)
                beside.rename(file)

    def _process_settings(self) -> dict[str, Any]:
        return {
            "listeners": {
                "reverse": {"bind": "127.0.0.1:0"},
                "forward": {"bind": "127.0.0.1:0"},
                "admin": {"bind": "127.0.0.1:0"},
            },
            "shutdown": {"drain_delay": "10ms", "grace": "5s"},
            "iclients": {
                "app": {
                    "grant_type": "client_credentials",
                    "token_url": self.tokens.url,
                    "client_id": "app",
                    "client_secret": {"env": "CLIENT_SECRET"},
                    "valid_domains": [self.tokens.authority],
                    "allow_insecure": True,
                }
            },
        }

    def _connection(self, version: str) -> dict[str, Any]:
        port = self.upstream.port
        plain = {"base_url": f"http://127.0.0.1:{port}"}
        secured = {"base_url": f"https://localhost:{port}", "tls": {"ca": str(self.folder / "ca.pem")}}
        return {
            **(plain if self._authority is None else secured),
            "hosts": [],
            "prefetch": False,
            "iclient": "app",
            "headers": {"X-Version": version},
        }

    def cpu_seconds(self) -> float:
        return self.group.cpu_seconds() if self.group is not None else self.process.cpu_seconds()

    def held(self) -> int:
        return self.group.memory() if self.group is not None else self.process.resident_bytes()

    def load(self) -> Load:
        """Return requests for the first of the connections in turn."""
        used = min(_USED, self.connections)
        requests = [b"GET /c%d/x HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(used)]
        return Load(
            [self.process.reverse], RATE, lambda number: requests[number % used],
            lambda status, body: (status, body) == (200, OK_BODY),
        )  # fmt: skip


def _server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@dataclass(frozen=True)
class Cost:
    """What was used in so many seconds: CPU in millicores, memory as it was at the end and at most, in MiB."""

    what: str
    seconds: float
    millicores: float
    resident: float
    held: float
    peak: float
    wakeups: float
    requests: int = 0
    failed: int = 0


async def _cost(pod: _Pod, what: str, seconds: float, load: Load | None = None) -> Cost:
    used, woken = pod.cpu_seconds(), pod.process.voluntary_switches()
    began = asyncio.get_running_loop().time()
    if load is not None:
        load.begin()
    await lasting(seconds)
    took = asyncio.get_running_loop().time() - began
    used, woken = pod.cpu_seconds() - used, pod.process.voluntary_switches() - woken
    held = pod.held()
    if load is not None:
        await load.end()
    peak = pod.group.memory_peak() if pod.group is not None else held
    return Cost(
        what, took, 1000 * used / took, pod.process.resident_bytes() / _MIB, held / _MIB, peak / _MIB, woken / took,
        load.sent if load is not None else 0, load.failed if load is not None else 0,
    )  # fmt: skip


async def cost(folder: Path, at_rest: float, busy: float, *, secured: bool) -> list[Cost]:
    """Measure one connection at rest, with probes, and under load with the access log."""
    authority = trustme.CA() if secured else None
    if authority is not None:
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    async with AsyncExitStack() as after:
        pod = _Pod(folder, 1, after.enter_context(cgroup("sidecar")), authority)
        await pod.start(after)
        await lasting(_SETTLED)
        way = "TLS to the upstream" if secured else "no TLS"
        found = []
        if at_rest:
            found.append(await _cost(pod, "at rest", at_rest))
            probing = asyncio.create_task(_probe(pod.process), name="probes")
            found.append(await _cost(pod, "at rest, probed and scraped", at_rest))
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        found.append(await _cost(pod, f"{RATE:g} requests/s, access log, {way}", busy, pod.load()))
        assert await pod.process.stop() == 0
        pod.process.assert_clean()
        return found


async def _probe(process: Process) -> None:
    number = 0
    while True:
        for path in _PROBES[: 3 if number % 3 == 0 else 2]:
            assert (await process.admin_get(path)).status == 200
        number += 1
        await lasting(_PROBE_EVERY)


@dataclass(frozen=True)
class Felt:
    """How reloads were felt: milliseconds at which 99 of 100 requests were served, in quiet and around reloads."""

    connections: int
    reloads: int
    requests: int
    failed: int
    quiet: float
    around: float
    around_all: float
    took: float
    took_all: float


async def reloads(folder: Path, connections: int, times: int) -> Felt:
    """Reload so many connections under load: one of them changed, then each of them."""
    async with AsyncExitStack() as after:
        pod = _Pod(folder, connections, after.enter_context(cgroup("sidecar")), None)
        await pod.start(after)
        loop = asyncio.get_running_loop()
        load = pod.load()
        load.begin()
        await eventually("load on a warm process", lambda: load.served > 4 * RATE)
        quiet, around, everywhere = [], [], []
        for number in range(1, times + 1):
            since = loop.time()
            await lasting(_WINDOW)
            quiet.append(load.quantile(0.99, since, loop.time()))
            around.append(await _felt(pod, load, str(number)))
        took = median(line["ms"] for line in pod.process.logged("reload"))
        for number in range(max(1, times // 5)):
            everywhere.append(await _felt(pod, load, f"all {number}", everywhere=True))  # noqa: PERF401
        await load.end()
        lines = pod.process.logged("reload")
        assert {line["outcome"] for line in lines} == {"applied"}
        assert await pod.process.stop() == 0
        pod.process.assert_clean()
        return Felt(
            connections, len(lines), load.sent, load.failed, median(quiet), median(around), median(everywhere),
            took, median(line["ms"] for line in lines[times:]),
        )  # fmt: skip


async def _felt(pod: _Pod, load: Load, version: str, *, everywhere: bool = False) -> float:
    """Reload; return the 99th percentile of the seconds around it."""
    loop = asyncio.get_running_loop()
    await lasting(_WINDOW / 2)
    since = loop.time() - _WINDOW / 2
    times = len(pod.process.logged("reload")) + 1
    pod.write(version, everywhere=everywhere)
    pod.process.signal(signal.SIGHUP)
    await pod.process.until_logged("reload", times)
    await lasting(max(_WINDOW / 2, since + _WINDOW - loop.time()))
    return load.quantile(0.99, since, loop.time())


def figures_of_cost(costs: list[Cost]) -> list[Figure]:
    """Return what it costs; one row for CPU and one for memory."""
    found = []
    for each in costs:
        mib, millicores = (BUSY_MIB, BUSY_MILLICORES) if each.requests else (REST_MIB, REST_MILLICORES)
        found += [
            Figure(f"{each.what}, {each.seconds:.0f} s: millicores (wake-ups of its threads a second)",
                   f"{each.millicores:.1f} ({each.wakeups:.0f})", f"≤ {millicores:g}", each.millicores <= millicores),
            Figure(f"{each.what}: MiB resident (in the control group: now, at most)",
                   f"{each.resident:.1f} ({each.held:.1f}, {each.peak:.1f})", f"≤ {mib:g}", each.resident <= mib),
        ]  # fmt: skip
        if each.requests:
            found.append(Figure(f"{each.what}: failed, of {each.requests}", str(each.failed), "0", not each.failed))
    return found


def figures_of_reloads(felt: Felt) -> list[Figure]:
    """Return what reloads did to requests."""
    moves = felt.around - felt.quiet
    return [
        Figure(f"{felt.reloads} reloads of {felt.connections} connections under {RATE:g} requests/s: failed, of "
               f"{felt.requests}", str(felt.failed), "0", not felt.failed),
        Figure(f"of them, one connection changed: p99 in ms of the {_WINDOW:g} s around a reload, and of {_WINDOW:g} s "
               "without one (medians)", f"{felt.around:.1f}, {felt.quiet:.1f}", f"+{FELT_MS:g}", moves <= FELT_MS),
        Figure("of them, each connection changed, so that each one needs a token: p99 in ms", f"{felt.around_all:.1f}"),
        Figure("ms that a reload takes: one changed, each changed", f"{felt.took:.0f}, {felt.took_all:.0f}"),
    ]  # fmt: skip


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Measure all of it; nothing here is random."""
    folders = []
    for name in ("plain", "secured", "reloads"):
        (folder / name).mkdir()
        folders.append(folder / name)
    found = figures_of_cost(await cost(folders[0], SECONDS_AT_REST * scale, SECONDS_BUSY * scale, secured=False))
    found += figures_of_cost(await cost(folders[1], 0.0, SECONDS_BUSY * scale / 4, secured=True))
    found += figures_of_reloads(await reloads(folders[2], CONNECTIONS, max(3, round(RELOADS * scale))))
    return found
