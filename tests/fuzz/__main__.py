"""`python -m tests.fuzz`: mutants and targets for as long as one likes; a table, exit status 1 where a rule broke."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from tests.fuzz import coverage, forms, kept, memory
from tests.fuzz.forms import Bounds
from tests.fuzz.node import node
from tests.fuzz.targets import NAMES
from tests.support.parts import Part, asked_for, run, tell

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


def _bounds(options: argparse.Namespace) -> Bounds:
    return Bounds(options.mutants, options.minutes * 60 / len(options.parts), options.seed)


def _mutants(name: str) -> Part:
    def measure(options: argparse.Namespace) -> list[Figure]:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            return asyncio.run(_MUTANTS[name](Path(folder), _bounds(options), options.folder))

    return Part(measure, () if name == "splits" else ("node",))


def _target(name: str) -> Part:
    return Part(lambda options: forms.one_target(name, _bounds(options), options.folder))


PARTS: Final = {name: _mutants(name) for name in _MUTANTS} | {name: _target(name) for name in NAMES}


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Spoil bytes, judge what comes of them.")
    parser.add_argument("--minutes", type=float, default=30.0, help="for all parts together")
    parser.add_argument(
        "--mutants", type=int, help="of each part, instead of minutes; targets run without atheris then"
    )
    parser.add_argument("--folder", type=Path, default=forms.FOUND, help="for what breaks a rule, and the corpora")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one that was kept there, instead of all else")
    options = asked_for(parser, PARTS, words, _ALIASES)
    if options.replay is not None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        return asyncio.run(_replay(options.replay))
    if not coverage.available() and set(options.parts) & set(NAMES):
        tell("atheris is not there: targets run on mutants of their seeds, and follow no branches")
    return run(PARTS, options)


async def _replay(file: Path) -> int:
    """Send what was kept in a file once more, and say what is wrong with what comes of it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with node() as reader, memory.world(Path(folder)) as world:
            faults = await kept.faults_of(world, reader, kept.read(file))
    tell("\n".join(faults) or "no rule is broken")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
