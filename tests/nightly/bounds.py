"""Too much of everything, on the real process: what it costs the good requests, what fails, and how soon it is over."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.cgroup import MIB, RealCgroup
from tests.support.client import Client
from tests.support.deadline import eventually, slowly
from tests.support.figures import Figure
from tests.support.good import Good, played
from tests.support.process import Process
from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import Stage
from tests.support.waits import stand_still

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.stage import Case
    from tests.support.upstream import Request

_LIMIT: Final = 80 * MIB  # twice of what it has at rest
_QUIET: Final = {"access": False}
_PROBE: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
_SCRAPE: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_SLOW_SECONDS: Final = 30.0
_SCRAPES_A_SECOND: Final = 100
_STALLING: Final = 100
_FILES: Final = 64


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Run every part; `scale` 1.0 takes ten minutes on two cores."""
    parts: tuple[Callable[[Path, float], Awaitable[list[Figure]]], ...] = (
        at_rest, memory, stalls, files, idle, starved, names, scrapes,
    )  # fmt: skip
    found: list[Figure] = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for part in parts:
        below = folder / part.__name__
        below.mkdir()
        sys.stderr.write(f"bounds: {part.__name__} …\n")
        found += await part(below, scale)
    return found


# ------------------------------------------------------------------------------------------------------------- at rest


async def at_rest(folder: Path, scale: float) -> list[Figure]:
    """What it takes to listen, and what it has then, before anybody has scraped it."""
    found = []
    for number in range(max(3, round(10 * scale))):
        (folder / str(number)).mkdir()
        stage = Stage({"c0": {}}, {"log": _QUIET})
        process = await Process.start(stage.definitions(), folder / str(number), stage.environment)
        try:
            await process.until_listening()
            found.append((_cpu_seconds(process.pid), process.resident_bytes()))
        finally:
            await process.stop()
            stage.forsake()
    seconds, resident = (sorted(column)[len(found) // 2] for column in zip(*found, strict=True))
    return [
        Figure(
            f"CPU from start to listening; resident then (median of {len(found)})",
            f"{seconds:.2f} s; {resident / MIB:.1f} MiB",
        )
    ]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime and stime


# -------------------------------------------------------------------------------------------------------------- memory


async def memory(folder: Path, scale: float) -> list[Figure]:
    """In a real cgroup: clients that ask for much and read nothing, until there is no more; then they leave."""
    crowd, rounds = 1_000, max(1, round(10 * scale))
    what = f"cgroup of {_LIMIT // MIB} MiB, {crowd} clients that read nothing, {rounds} times"
    try:
        cgroup = RealCgroup(_LIMIT)
    except OSError as error:
        return [Figure(what, f"left out: no cgroup may be made here ({error.strerror})", "", holds=False)]
    operators, good = Good(), Good()
    refused, seconds = 0, []
    try:
        async with played(folder, *cgroup.within) as case:
            process = case.stage.process
            for _ in range(rounds):
                case.upstream.always(replies(response(bytes(4 * MIB))))
                for number in range(crowd):
                    with suppress(ConnectionError):
                        client = await case.connect(receive_buffer=4096)
                        await client.send(case.request())
                    if number % 20 == 0:
                        await operators.ask_often(process.admin, _PROBE, 1)
                        await eventually("the upstream, which is slower than the proxy", lambda: _has_caught_up(case))
                refused = int(await process.metric('local_replies_total{code="overloaded"}'))
                for client in case.clients:
                    with suppress(OSError):  # it was turned away, and has ended by now
                        client.reset()
                case.clients.clear()
                case.upstream.behave()
                begun = time.perf_counter()

                async def serves() -> bool:
                    fresh = Good()
                    await fresh.ask_often(process.reverse, case.request(), 1)
                    return fresh.failed == 0

                await eventually("good requests", serves, 60)
                seconds.append(time.perf_counter() - begun)
                await good.ask_often(process.reverse, case.request(), 10)
            changes = len(process.logged("memory_pressure"))
        killed, highest = cgroup.killed(), cgroup.highest()
    finally:
        await eventually(
            "the end of every process in the cgroup", lambda: not (cgroup.folder / "cgroup.procs").read_text()
        )
        cgroup.remove()
    return [
        Figure(f"{what}: ended by the kernel", f"{killed}, at most {highest / MIB:.0f} MiB", "0", killed == 0),
        Figure("… turned away with 503 overloaded", f"{refused} of {crowd * rounds}", "some", refused > 0),
        Figure("… good again after they left", f"{max(seconds):.1f} s at most", "≤ 5 s", max(seconds) <= 5),
        Figure("… probes of operators meanwhile", operators.words(), "0", operators.failed == 0),
        Figure("… log lines about it", f"{changes}", f"≤ {10 * rounds}", changes <= 10 * rounds),
    ]


async def _has_caught_up(case: Case) -> bool:
    """Whether the upstream has answered each exchange under way: from then on they grow no more."""
    answered = sum(1 for stream in case.upstream.streams if stream.bytes_written and not stream.lost.is_set())
    return answered >= await case.stage.process.metric("in_flight_requests")


# -------------------------------------------------------------------------------------------------------------- stalls


async def stalls(folder: Path, scale: float) -> list[Figure]:
    """The process stands still for longer than anything may take, and all that is awaited comes meanwhile."""
    rounds, copies, patience = max(1, round(20 * scale)), 5, 5.0
    came: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number in range(rounds):
        (folder / str(number)).mkdir()
        found, _ = await stand_still(folder / str(number), copies, patience)
        for kind, each in found.items():
            came[kind] += sum(each)
            asked[kind] += len(each)
    late = {kind: asked[kind] - came[kind] for kind in asked if asked[kind] != came[kind]}
    total = asked.total() - asked["noticed"]
    what = f"stopped for 7.5 s with time-outs of 5 s, {rounds} times: {total} requests that wait for something"
    return [Figure(what, f"{late or 'none'} taken for late", "none", not late)]


# --------------------------------------------------------------------------------------------------------------- files


async def files(folder: Path, scale: float) -> list[Figure]:
    """With 64 files in all: a flood of streams that do nothing, to both listeners."""
    seconds = max(3.0, 30 * scale)
    good, operators = Good(), Good()
    async with played(folder, "prlimit", f"--nofile={_FILES}:{_FILES}") as case:
        process = case.stage.process
        client = await case.warm()
        lines = len(process.lines)
        held: list[Client] = []
        opened, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for address in (process.reverse, process.admin):
                with suppress(ConnectionError):
                    held.append(await Client.connect(address))
                    opened += 1
            while len(held) > 4 * _FILES:
                await held.pop(0).close()
            await good.ask(client, case.request())
            await operators.ask_often(process.admin, _PROBE, 1)
        written = len(process.lines) - lines
        for each in held:
            await each.close()
        begun = time.perf_counter()

        async def serves() -> bool:
            fresh = Good()
            await fresh.ask_often(process.reverse, case.request(), 1)
            return fresh.failed == 0

        await eventually("good requests", serves)
        recovered = time.perf_counter() - begun
    return [
        Figure(
            f"{_FILES} files, {opened} streams in {seconds:.0f} s: who was there before",
            good.words(),
            "0",
            good.failed == 0,
        ),
        Figure("… probes of operators", operators.words(), "0", operators.failed == 0),
        Figure("… log lines", f"{written / seconds:.2f} a second", "≤ 1", written <= seconds),
        Figure("… good again after it", f"{recovered:.2f} s", "≤ 1 s", recovered <= 1),
    ]


# ---------------------------------------------------------------------------------------------------------------- idle


async def idle(folder: Path, scale: float) -> list[Figure]:
    """Ten thousand streams that have had a response and wait for nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(max(200, round(10_000 * scale)), hard // 2 - 200)
    probes = Good()
    async with played(folder, limits={"keep_alive": "10m"}) as case:
        process = case.stage.process
        await Good().ask_often(process.reverse, case.request(), 200)
        before = process.resident_bytes()
        streams = []
        for _ in range(count):
            client = await case.connect()
            await client.send(case.request())
            await client.read_until(OK_BODY)
            streams.append(client)
        each = (process.resident_bytes() - before) / count
        await probes.ask_often(process.reverse, case.request(), 1_000)
        held = await process.metric("in_flight_requests")
    assert held == 0
    return [
        Figure(f"{count} idle streams, each", f"{each / 1024:.1f} KiB", "≤ 12 KiB", each <= 12 * 1024),
        Figure("… good requests among them", probes.words(), "< 10 ms", probes.p99() < 10 and probes.failed == 0),
    ]


# ------------------------------------------------------------------------------------------------------------- starved


async def starved(folder: Path, scale: float) -> list[Figure]:
    """Three busy processes for each core, and ours is the nicest; tokens that live a second."""
    times, clients, good = max(20, round(1_000 * scale)), 16, Good()
    async with AsyncExitStack() as after:
        case = await after.enter_async_context(played(folder, "nice", "-n", "10"))
        case.stage.tokens.members["c0"] = {"expires_in": 1}
        for _ in range(3 * (os.cpu_count() or 1)):
            hog = await asyncio.create_subprocess_exec("nice", "-n", "5", sys.executable, "-c", "while True: pass")
            after.push_async_callback(hog.wait)
            after.callback(hog.kill)
        address = case.stage.process.reverse
        await asyncio.gather(*(good.ask_often(address, case.request(), times) for _ in range(clients)))
        lagged = await case.stage.process.metric('loop_lag_seconds_bucket{le="0.1"}')
        looks = await case.stage.process.metric("loop_lag_seconds_count")
        malformed = len(case.upstream.malformed)
    return [
        Figure(
            f"{times * clients} requests beside {3 * (os.cpu_count() or 1)} busy processes",
            f"{good.words()}, {malformed} malformed at the upstream",
            "0",
            good.failed == malformed == 0,
        ),
        Figure("… sweeps that came more than 100 ms late", f"{looks - lagged:.0f} of {looks:.0f}"),
    ]


# --------------------------------------------------------------------------------------------------------------- names


async def names(folder: Path, scale: float) -> list[Figure]:
    """A hundred connections to names that nobody answers for, asked all the time, beside one whose name is good."""
    times = max(50, round(2_000 * scale))
    dead = {
        f"d{number}": {"base_url": f"http://d{number}.test:PORT", "iclient": None, "allow_insecure": True}
        for number in range(_STALLING)
    }
    for each in dead.values():
        del each["iclient"]
    addresses = {"*.test": "", "good.example": "127.0.0.1"}

    async def closes(request: Request) -> None:
        await request.read_body()
        await request.send(response(OK_BODY, b"Connection: close"))  # so that each request has its name looked up

    alone, beside = Good(), Good()
    outcomes: Counter[int] = Counter()
    good = {"base_url": "http://good.example:PORT", "allow_insecure": True}
    async with AsyncExitStack() as after:
        stage = Stage({"c0": good, **dead}, {"log": _QUIET}, addresses)
        await stage.start(folder)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        case.upstream.always(closes)
        address = stage.process.reverse
        await alone.ask_often(address, case.request(), times)
        over = asyncio.Event()

        async def ask_in_vain(name: str) -> None:
            stalled = Good()
            while not over.is_set():
                await stalled.ask_often(address, b"GET /%b/x HTTP/1.1\r\nHost: localhost\r\n\r\n" % name.encode(), 1)
            outcomes.update(stalled.statuses)

        async def all_are_looked_up() -> bool:
            return await stage.process.metric("in_flight_requests") == _STALLING

        asking = [asyncio.create_task(ask_in_vain(name), name=name) for name in dead]
        await eventually("a look-up of each dead name", all_are_looked_up)
        await beside.ask_often(address, case.request(), times)
        over.set()
        await asyncio.gather(*asking)
    ratio = beside.p99() / alone.p99()
    return [
        Figure(
            f"{_STALLING} names that stall, {times} requests by a good name: failed",
            f"{beside.failed}",
            "0",
            beside.failed == 0,
        ),
        Figure(
            "… their p99, and without the dead names",
            f"{beside.p99():.1f} ms, {alone.p99():.1f} ms",
            "3 times, or 30 ms",
            ratio <= 3 or beside.p99() <= 30,
        ),
        Figure("… answers to those who ask for the dead ones", f"{dict(outcomes)}", "504", set(outcomes) == {504}),
    ]


# ------------------------------------------------------------------------------------------------------------- scrapes


async def scrapes(folder: Path, scale: float) -> list[Figure]:
    """A hundred scrapes a second of a thousand connections, five more that are hardly read, beside good requests."""
    seconds = max(3.0, _SLOW_SECONDS * scale)
    shared = {
        "grant_type": "client_credentials", "client_id": "shared", "client_secret": {"env": "CLIENT_SECRET"},
        "token_url": "http://127.0.0.1:1/token", "valid_domains": ["127.0.0.1:1"], "allow_insecure": True,
    }  # fmt: skip
    many = {f"m{number}": {"iclient": "shared"} for number in range(999)}
    alone, beside = Good(), Good()
    answers: Counter[int] = Counter()
    async with played(folder, others=many, iclients={"shared": shared}) as case:
        process = case.stage.process
        request, times = case.request(), round(seconds * 50)
        await alone.ask_often(process.reverse, request, times // 4, pause=0.005)

        async def reads_slowly() -> float:
            """Return the seconds until it was cut."""
            client, begun = await Client.connect(process.admin, receive_buffer=2048), time.monotonic()
            await client.send(_SCRAPE)
            async for _ in slowly(round(5 * (seconds + 15)), 0.2):
                if not await client.read_exactly(512):
                    break
            await client.close()
            return time.monotonic() - begun

        async def scrape() -> None:
            with suppress(AssertionError, ConnectionError):
                client = await Client.connect(process.admin)
                answers[(await client.ask(_SCRAPE)).status] += 1
                await client.close()

        slow = [asyncio.create_task(reads_slowly(), name="slow scrape") for _ in range(2)]
        scraping: set[asyncio.Task[None]] = set()
        asking = asyncio.create_task(beside.ask_often(process.reverse, request, times // 4, pause=0.005), name="good")
        async for _ in slowly(round(seconds * _SCRAPES_A_SECOND), 1 / _SCRAPES_A_SECOND):
            task = asyncio.create_task(scrape(), name="scrape")
            scraping.add(task)
            task.add_done_callback(scraping.discard)
        await asyncio.gather(asking, *scraping)
        cut = await asyncio.gather(*slow)
        in_time = await process.metric('loop_lag_seconds_bucket{le="0.1"}')
        lag = await process.metric("loop_lag_seconds_count") - in_time
    return [
        Figure(
            f"scrapes of 1,000 connections, {answers.total()} in {seconds:.0f} s: answered, turned away",
            f"{answers[200]}, {answers[503]}",
            "no other",
            set(answers) <= {200, 503},
        ),
        Figure(
            "… good requests beside them",
            f"{beside.words()} (without: {alone.p99():.0f} ms)",
            "0 failed",
            beside.failed == 0,
        ),
        Figure("… who hardly reads sees the end after", f"{max(cut):.1f} s", "≤ 20 s", max(cut) <= 20),
        Figure("… sweeps that came more than 100 ms late", f"{lag:.0f}"),
    ]
