"""`python -m tests.fuzz`: mutants and targets for as long as one likes; a table, exit status 1 where a rule broke."""

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

from tests.fuzz import coverage, forms, kept, memory
from tests.fuzz.forms import Bounds
from tests.fuzz.node import node
from tests.fuzz.targets import NAMES
from tests.support.figures import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.figures import Figure

_MUTANTS: Final = {
    "splits": forms.every_split,
    "requests": forms.requests,
    "responses": forms.responses,
    "sockets": forms.over_sockets,
}
_ALIASES: Final = {
    "mutants": tuple(_MUTANTS), "targets": NAMES, "head": ("request_head", "response_head"),
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    options = _options(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.replay is not None:
        return asyncio.run(_replay(options.replay))
    if not coverage.available() and set(options.parts) & set(NAMES):
        _tell("atheris is not there: targets run on mutants of their seeds, and follow no branches")
    found: list[Figure] = []
    missing = False
    seconds = options.minutes * 60 / len(options.parts)
    for name in options.parts:
        bounds = Bounds(options.mutants, seconds, options.seed)
        began = time.monotonic()
        if name in NAMES:
            found += forms.one_target(name, bounds, options.folder)
        elif name != "splits" and shutil.which("node") is None:
            _tell(f"{name}: left out, node missing")
            missing = True
        else:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                found += asyncio.run(_MUTANTS[name](Path(folder), bounds, options.folder))
        _tell(f"{name}: {time.monotonic() - began:.0f} s")
    sys.stdout.write(table(found) + "\n")
    return 1 if missing or not all(each.holds for each in found) else 0


async def _replay(file: Path) -> int:
    """Send what was kept in a file once more, and say what is wrong with what comes of it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with node() as reader, memory.world(Path(folder)) as world:
            faults = await kept.faults_of(world, reader, kept.read(file))
    _tell("\n".join(faults) or "no rule is broken")
    return 1 if faults else 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Spoil bytes, judge what comes of them.")
    known = [*_MUTANTS, *NAMES]
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join((*_ALIASES, *known))}; all of them when left out"
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="for all parts together")
    parser.add_argument(
        "--mutants", type=int, help="of each part, instead of minutes; targets run without atheris then"
    )
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    parser.add_argument("--folder", type=Path, default=forms.FOUND, help="for what breaks a rule, and the corpora")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one that was kept there, instead of all else")
    options = parser.parse_args(words)
    asked = [part for word in options.parts for part in _ALIASES.get(word, (word,))]
    unknown = [name for name in asked if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join((*_ALIASES, *known))})")
    options.parts = asked or known
    return options


if __name__ == "__main__":
    sys.exit(main())
