"""`python -m tests.nightly`: every part in its long form; prints a table, exit status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from tests.support.figures import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.figures import Figure

_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

# Each part is a module of this folder with `async def measure(folder: Path, scale: float, seed: int) -> list[Figure]`;
# `scale` 1.0 is the number that the documentation states. Beside it: the programs that it starts.
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "bounds": ("prlimit", "nice"),
    "canaries": (),
    "cases": (),
    "cuts": ("curl", "node"),
    "hostile": (),
    "mutants": ("node",),
    "restarts": ("haproxy",),
    "sidecar": (),
    "soak": (),
    "sse": (),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    options = _options(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found: list[Figure] = []
    missing = False
    for name in options.parts:
        lacking = [program for program in PARTS[name] if shutil.which(program, path=_PATH) is None]
        if lacking:
            _tell(f"{name}: left out, {', '.join(lacking)} missing")
            missing = True
            continue
        begun = time.monotonic()
        _tell(f"{name} …")
        part = importlib.import_module(f"tests.nightly.{name}")
        with tempfile.TemporaryDirectory(prefix=f"nightly-{name}-") as folder:
            found += asyncio.run(part.measure(Path(folder), options.scale, options.seed))
        _tell(f"{name}: {time.monotonic() - begun:.0f} s")
    sys.stdout.write(table(found) + "\n")
    return 1 if missing or not all(each.holds for each in found) else 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description="The long forms, printed as figures.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them when left out")
    parser.add_argument("--scale", type=float, default=1.0, help="of the full numbers; 0.01 for a look")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    options = parser.parse_args(words)
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join(PARTS)})")
    options.parts = options.parts or list(PARTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
