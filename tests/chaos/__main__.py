"""`python -m tests.chaos`: every attack in its long form; prints a table, exit status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from tests.chaos import crowd, kills, outage
from tests.chaos.figures import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.figures import Figure

_PER_POINT: Final = 200
_PHASES: Final = 24
_AT_RANDOM: Final = 2_000


async def _kills(options: argparse.Namespace) -> list[Figure]:
    hunts = []
    for grace in (False, True):
        with tempfile.TemporaryDirectory(prefix="chaos-") as name:
            async with kills.victim_on_disk(Path(name), grace=grace) as victim:
                hunts.append(
                    await kills.hunt(victim, kills.ON_DISK, max(1, options.kills // 2), seed=options.seed + grace)
                )
    _tell(fault for each in hunts for fault in each.faults)
    return kills.figures(hunts, "store on disk")


def _outages(options: argparse.Namespace) -> list[Figure]:
    outages = [
        *outage.grid(outage.LIFETIMES, options.phases),
        *outage.at_random(options.outages, options.seed),
        *outage.on_the_edge(options.outages, options.seed),
    ]
    seen = [outage.lived(each) for each in outages]
    _tell(str(each) for each in seen if each.failed)
    return outage.figures(seen)


async def _crowd(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return crowd.figures(await crowd.gather(Path(folder), options.callers))


PARTS: Final = {
    "kills": (lambda options: asyncio.run(_kills(options)), "strace"),
    "outages": (_outages, None),
    "crowd": (lambda options: asyncio.run(_crowd(options)), None),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    options = _options(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found: list[Figure] = []
    missing = False
    for name in options.parts:
        attack, program = PARTS[name]
        if program is not None and shutil.which(program) is None:
            _tell([f"{name}: left out, {program} is missing"])
            missing = True
            continue
        begun = time.monotonic()
        found += attack(options)
        _tell([f"{name}: {time.monotonic() - begun:.0f} s"])
    sys.stdout.write(table(found) + "\n")
    return 1 if missing or not all(each.holds for each in found) else 0


def _tell(lines) -> None:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Attack the product, print figures.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them when left out")
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
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    options = parser.parse_args(words)
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join(PARTS)})")
    options.parts = options.parts or list(PARTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
