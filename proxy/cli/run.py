"""`iclient-proxy run`: the proxy itself, without a terminal library in its memory."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from proxy.cli.where import definitions_at

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run until told to stop; returns the exit status."""
    # Until there is a loop: process 1 of a container gets no signal that it has no handler for.
    signal.signal(signal.SIGTERM, _leave)
    parser = ArgumentParser(
        "iclient-proxy run",
        description="Run the proxy until SIGTERM or Ctrl-C.",
        epilog="Example: iclient-proxy run --config ./config",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", "-c", action="append", type=Path, metavar="PATH", help="a file or a folder; may be given again"
    )
    paths = definitions_at(parser.parse_args(argv).config, os.environ)
    import_structlog_alone()
    from proxy.runtime.run import run

    return run(paths, program=_program(argv))


def _program(argv: Sequence[str]) -> list[str]:
    """Return the command by which this process was started, up to the verb: workers are the same program."""
    said = sys.orig_argv[1 : -len(argv) - 1]
    if said and sys.orig_argv[len(said) + 1 :] == ["run", *argv]:
        return [sys.executable, *said]
    return [sys.executable, "-m", "proxy"]


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def import_structlog_alone() -> None:
    """Import structlog without rich: it takes rich for tracebacks that we never print, and 3 MiB and 50 ms with it."""
    if "rich" not in sys.modules:
        hidden: dict[str, object] = {"rich": None}
        sys.modules.update(hidden)  # type: ignore[arg-type]  # None is how the import system is told "not there"
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules["rich"]
