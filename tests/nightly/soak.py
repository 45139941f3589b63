"""Twenty minutes of load with tokens of five seconds and a fault a second: no error without a cause, nothing grows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.chaos.pacing import until
from tests.nightly.openloop import Load
from tests.nightly.soak_faults import Faults
from tests.nightly.soak_world import STEADY, World
from tests.support.deadline import eventually
from tests.support.figures import Figure
from tests.support.process import Process
from tests.support.scripts import OK_BODY
from tests.support.stage import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nightly.openloop import Failure

SECONDS: Final = 1200.0
# SOAK_RATE: on a machine that has other things to do.
RATE: Final = float(os.environ.get("SOAK_RATE", "500"))
_STREAMS: Final = 300  # as many as the applications of a pod may have
SLOPE: Final = 1.0  # MiB in ten minutes
_MIB: Final = 1 << 20
_SAMPLES: Final = 240  # in a whole soak; at least one in five seconds
_WARM: Final = 0.2  # of the time: until caches, pools and the heap have their size
_LONG: Final = 300.0  # seconds below which a slope says nothing
# What is under way differs from moment to moment, with what the machine does besides: numbers are compared at rest.
_SWING: Final = 10


@dataclass(frozen=True)
class Sample:
    """What the process holds at one moment."""

    at: float
    resident: int
    files: int
    threads: int
    tasks: int
    timers: int
    objects: int


@dataclass(frozen=True)
class Seen:
    """One soak. `records` are the lines of the access log, `exchanges` the requests that each have to have one."""

    seconds: float
    rate: float
    requests: int
    failures: tuple[Failure, ...]
    failed: int
    planted: int
    kinds: int
    unexplained: tuple[str, ...]
    refused: int
    expired: int
    token_requests: int
    exchanges: int
    records: int
    rest: tuple[Sample, Sample]
    samples: tuple[Sample, ...]
    milliseconds: tuple[float, float]
    millicores: float


async def soak(folder: Path, seconds: float, rate: float, every: float, seed: int) -> Seen:
    """Let requests come at that rate for so long, and plant a fault every so many seconds."""
    async with AsyncExitStack() as after:
        world = await after.enter_async_context(World())
        process = await Process.start(
            world.definitions(), folder, {"CLIENT_SECRET": SECRET},
            program=("tests.support.insides",), counted=b'{"event":"exchange"',
        )  # fmt: skip
        after.push_async_callback(process.stop)
        await process.until_listening("reverse", "forward", "admin")
        faults = Faults(world, process, folder, random.Random(seed))
        load = Load([process.reverse], rate, _request, _is_good, streams=_STREAMS)
        await _warmed(process, world, faults)
        before = await _sample(process)
        used = process.cpu_seconds()
        load.begin()
        samples: list[Sample] = []
        watching = asyncio.create_task(_watch(process, world, samples, max(1.0, seconds / _SAMPLES)), name="samples")
        await faults.plant(seconds, every)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await load.end()
        used = process.cpu_seconds() - used
        await eventually("a process at rest", lambda: _is_at_rest(process, before), 60)
        await eventually("the last lines of the log", lambda: process.count >= load.sent + faults.exchanges, 10)
        rest = await _sample(process)
        assert await process.stop() == 0
        process.assert_clean()
        return Seen(
            seconds=seconds,
            rate=rate,
            requests=load.sent,
            failures=tuple(load.failures),
            failed=load.failed,
            planted=faults.planted.total(),
            kinds=len(faults.planted),
            unexplained=tuple(faults.unexplained),
            refused=world.refused,
            expired=world.expired,
            token_requests=world.token_requests,
            exchanges=load.sent + faults.exchanges,
            records=process.count,
            rest=(before, rest),
            samples=tuple(samples),
            milliseconds=(load.quantile(0.5), load.quantile(0.99)),
            millicores=1000 * used / seconds,
        )


def _request(number: int) -> bytes:
    return b"GET /%s/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (STEADY.encode(), number)


def _is_good(status: int, body: bytes) -> bool:
    return (status, body) == (200, OK_BODY)


async def _warmed(process: Process, world: World, faults: Faults) -> None:
    """Have every kind of thing happen once, so that what a first time makes is there."""
    await process.metric("in_flight_requests")
    await faults.plant(0.0, 1.0)
    await process.metric("in_flight_requests")


async def _watch(process: Process, world: World, samples: list[Sample], every: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await until(loop.time() + every)
        world.forget()
        samples.append(await _sample(process))


async def _sample(process: Process) -> Sample:
    times = len(process.logged("insides")) + 1
    process.signal(signal.SIGUSR1)
    said = await process.until_logged("insides", times)
    return Sample(
        asyncio.get_running_loop().time(), process.resident_bytes(), process.open_files(), process.threads(),
        said["tasks"], said["timers"], said["objects"],
    )  # fmt: skip


async def _is_at_rest(process: Process, before: Sample) -> bool:
    """No exchange, no tunnel, no file more than at the beginning."""
    busy = await process.metric("in_flight_requests") + await process.metric("tunnels_open")
    return busy == 0 and process.open_files() <= before.files


def slope(samples: tuple[Sample, ...]) -> float:
    """Return by how many MiB the process grows in ten minutes: the line of least squares after the warm-up."""
    kept = _kept(samples)
    if len(kept) < 2:
        return 0.0
    middle = sum(each.at for each in kept) / len(kept)
    mean = sum(each.resident for each in kept) / len(kept)
    spread = sum((each.at - middle) ** 2 for each in kept)
    return sum((each.at - middle) * (each.resident - mean) for each in kept) / spread * 600 / _MIB


def _kept(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    return samples[int(_WARM * len(samples)) :]


def _sixths(samples: tuple[Sample, ...]) -> list[float]:
    size = max(1, len(samples) // 6)
    parts = [samples[begin : begin + size] for begin in range(0, size * 6, size)]
    return [median(each.resident for each in part) / _MIB for part in parts if part]


def _flat(what: str, seen: Seen, of: str) -> Figure:
    """Return the middle values of the first and the last third under load, and those at rest before and after."""
    kept = _kept(seen.samples) or seen.rest
    third = max(1, len(kept) // 3)
    first, last = (median(getattr(each, of) for each in part) for part in (kept[:third], kept[-third:]))
    before, rest = (getattr(each, of) for each in seen.rest)
    holds = rest <= before + _SWING
    return Figure(
        f"{what}: under load first and last third, at rest before and after",
        f"{first:g}, {last:g}; {before}, {rest}", "flat at rest", holds,
    )  # fmt: skip


def figures(seen: Seen) -> list[Figure]:
    """Return what came of it."""
    grows = slope(seen.samples)
    is_long = seen.seconds >= _LONG
    resident = [each.resident / _MIB for each in _kept(seen.samples)] or [0.0]
    middle, high = seen.milliseconds
    return [
        Figure(
            f"{seen.seconds:g} s at {seen.rate:g} requests/s, tokens of 5 s, {seen.planted} faults of {seen.kinds} "
            f"kinds: errors that no fault explains, of {seen.requests} requests",
            f"{seen.failed + len(seen.unexplained)}", "0",
            not seen.failed and not seen.unexplained and seen.requests > 0.9 * seen.seconds * seen.rate,
        ),
        Figure("requests with a token more than a second past its end", str(seen.expired), "0", not seen.expired),
        Figure("refusals by the API that applications did not see; token requests",
               f"{seen.refused}; {seen.token_requests}"),
        Figure(f"lines of the access log for {seen.exchanges} exchanges", str(seen.records), "as many",
               seen.records == seen.exchanges),
        Figure(f"resident memory in MiB: least, most; growth in ten minutes{'' if is_long else ' (too short to tell)'}",
               f"{min(resident):.1f}, {max(resident):.1f}; {grows:+.2f}", f"< {SLOPE:g}" if is_long else "",
               grows < SLOPE or not is_long),
        Figure("of that, in each sixth of the time", ", ".join(f"{each:.1f}" for each in _sixths(seen.samples))),
        _flat("file descriptors", seen, "files"),
        _flat("threads", seen, "threads"),
        _flat("tasks", seen, "tasks"),
        _flat("timers", seen, "timers"),
        Figure("objects that the collector sees, at rest before and after",
               ", ".join(str(each.objects) for each in seen.rest)),
        Figure("milliseconds from when a request was due to its answer: median, p99 (some wait for a token)",
               f"{middle:.1f}, {high:.1f}"),
        Figure("millicores, faults and access log included", f"{seen.millicores:.0f}"),
    ]  # fmt: skip


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Soak for 20 minutes, or a part of that."""
    seen = await soak(folder, SECONDS * scale, RATE, 1.0, seed)
    found = figures(seen)
    found += [Figure(f"request {failure.number}", failure.why) for failure in seen.failures]
    found += [Figure("a fault", words) for words in seen.unexplained[:20]]
    return found
