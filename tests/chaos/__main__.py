"""`python -m tests.chaos`: every attack in its long form; prints a table, exit status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos import crowd, kills, nemesis, outage, replicas
from tests.support.parts import Part, asked_for, run, tell
from tests.support.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.figures import Figure

_PER_POINT: Final = 200
_PHASES: Final = 24
_AT_RANDOM: Final = 2_000
_EXPIRIES: Final = 1_000
_ROUNDS: Final = 5
_CONNECTIONS: Final = 10
_VICTIMS: Final = 8


async def _kills(options: argparse.Namespace) -> list[Figure]:
    hunts = []
    for grace in (False, True):
        with tempfile.TemporaryDirectory(prefix="chaos-") as name:
            async with kills.victim_on_disk(Path(name), grace=grace) as victim:
                hunts.append(
                    await kills.hunt(victim, kills.ON_DISK, max(1, options.kills // 2), seed=options.seed + grace)
                )
    tell(*(fault for each in hunts for fault in each.faults))
    return kills.figures(hunts, "store on disk")


async def _kills_in_redis(options: argparse.Namespace) -> list[Figure]:
    """Hunt several victims at once: what takes long is to wait for the turns of the dead to end."""
    async with AsyncExitStack() as after:
        redis = await after.enter_async_context(redis_server())
        hunts = []
        for number in range(_VICTIMS):
            folder = after.enter_context(tempfile.TemporaryDirectory(prefix=f"chaos-{number}-"))
            victim = await after.enter_async_context(kills.victim_in_redis(Path(folder), redis, grace=bool(number % 2)))
            times = max(1, options.kills // _VICTIMS)
            hunts.append(kills.hunt(victim, kills.IN_REDIS, times, seed=options.seed + number))
        seen = await asyncio.gather(*hunts)
    tell(*(fault for each in seen for fault in each.faults))
    return kills.figures(seen, "store in Redis")


async def _replicas(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        seen = await replicas.expire_together(Path(folder), _CONNECTIONS, options.expiries)
        tell(*seen.faults)
        return replicas.figures(seen)


async def _nemesis(options: argparse.Namespace) -> list[Figure]:
    found = []
    for grace, words in ((False, "a server that forgives no reuse"), (True, "a server that forgives one reuse")):
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            seen = await nemesis.rage(
                Path(folder), options.rounds, connections=_CONNECTIONS, grace=grace, seed=options.seed
            )
        tell(*seen.verdict.faults, *seen.stuck)
        found += nemesis.figures(seen, words)
    return found


def _outages(options: argparse.Namespace) -> list[Figure]:
    outages = [
        *outage.grid(outage.LIFETIMES, options.phases),
        *outage.at_random(options.outages, options.seed),
        *outage.on_the_edge(options.outages, options.seed),
    ]
    seen = [outage.lived(each) for each in outages]
    tell(*(str(each) for each in seen if each.failed))
    return outage.figures(seen)


async def _crowd(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return crowd.figures(await crowd.gather(Path(folder), options.callers))


PARTS: Final = {
    "kills": Part(lambda options: asyncio.run(_kills(options)), ("strace",)),
    "kills-redis": Part(lambda options: asyncio.run(_kills_in_redis(options)), ("strace", "redis-server")),
    "replicas": Part(lambda options: asyncio.run(_replicas(options)), ("redis-server",)),
    "nemesis": Part(lambda options: asyncio.run(_nemesis(options)), ("redis-server",)),
    "outages": Part(_outages),
    "crowd": Part(lambda options: asyncio.run(_crowd(options))),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Attack the product, print figures.")
    parser.add_argument(
        "--kills",
        type=int,
        default=_PER_POINT,
        help="kills at each of the five points, half of them with a server that forgives one reuse",
    )
    parser.add_argument("--phases", type=int, default=_PHASES, help="phases of each lifetime and mode of an outage")
    parser.add_argument(
        "--outages", type=int, default=_AT_RANDOM, help="outages at random, and as many on the edge, beside the grid"
    )
    parser.add_argument("--callers", type=int, default=crowd.CALLERS, help="callers of the crowd")
    parser.add_argument("--expiries", type=int, default=_EXPIRIES, help="expiries at all replicas at once")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="times that the nemesis does each of its things")
    return run(PARTS, asked_for(parser, PARTS, words))


if __name__ == "__main__":
    sys.exit(main())
