"""`python -m tests.nightly`: every part in its long form; prints a table, exit status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.parts import Part, asked_for, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.figures import Figure


def _part(name: str, *programs: str) -> Part:
    """Return a part: a module of this folder with `async def measure(folder: Path, scale: float, seed: int)`.

    A `scale` of 1.0 is the number that the documentation states.
    """

    def measure(options: argparse.Namespace) -> list[Figure]:
        part = importlib.import_module(f"tests.nightly.{name}")
        with tempfile.TemporaryDirectory(prefix=f"nightly-{name}-") as folder:
            figures: list[Figure] = asyncio.run(part.measure(Path(folder), options.scale, options.seed))
            return figures

    return Part(measure, programs)


PARTS: Final = {
    "bounds": _part("bounds", "prlimit", "nice"),
    "canaries": _part("canaries"),
    "cases": _part("cases"),
    "cuts": _part("cuts", "curl", "node"),
    "hostile": _part("hostile"),
    "mutants": _part("mutants", "node"),
    "restarts": _part("restarts", "haproxy"),
    "sidecar": _part("sidecar"),
    "soak": _part("soak"),
    "sse": _part("sse"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description="The long forms, printed as figures.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the full numbers; 0.01 for a look")
    return run(PARTS, asked_for(parser, PARTS, words))


if __name__ == "__main__":
    sys.exit(main())
