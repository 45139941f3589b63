"""A run of many minutes made of parts: which are asked for, what each came to, and what is kept when it is ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import structlog

from tests.support.figures import table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.figures import Figure

_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_ENDS: Final = (signal.SIGINT, signal.SIGTERM)
_WAS_ENDED: Final = 130  # as a shell has it for SIGINT
_NONE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


@dataclass(frozen=True)
class Part:
    """`measure` is handed the options and returns the figures; `programs` is what it starts beside Python."""

    measure: Callable[[argparse.Namespace], Sequence[Figure]]
    programs: tuple[str, ...] = ()


class Ended(Exception):
    """A part was told to end and has; `figures` is what it came to until then."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        super().__init__("told to end")
        self.figures = figures


def asked_for(
    parser: argparse.ArgumentParser,
    parts: Mapping[str, Part],
    words: Sequence[str] | None,
    aliases: Mapping[str, tuple[str, ...]] = _NONE,
) -> argparse.Namespace:
    """Add the options that each run has to the parser's own, and read `words`. An alias stands for several parts."""
    known = ", ".join((*aliases, *parts))
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {known}; all of them when left out")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="append the table of each part to it as soon as that has ended"
    )
    parser.add_argument(
        "--usual-priority",
        action="store_true",
        help="run the parts and all that they start at usual priority, however nice or idle this was called",
    )
    options = parser.parse_args(words)
    asked = [name for word in options.parts for name in aliases.get(word, (word,))]
    unknown = [name for name in asked if name not in parts]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {known})")
    options.parts = asked or list(parts)
    if options.usual_priority:
        try:
            _take_usual_priority()
        except PermissionError as error:
            parser.error(f"--usual-priority: {error.strerror}; it needs CAP_SYS_NICE, or a higher `ulimit -e`")
    return options


def run(parts: Mapping[str, Part], options: argparse.Namespace) -> int:
    """Run the parts that are asked for, print their figures; return the exit status.

    SIGINT or SIGTERM ends the run; what it came to until then is printed.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found: list[Figure] = []
    missing = was_ended = False
    with _one_way_to_end():
        try:
            for name in options.parts:
                lacking = [each for each in parts[name].programs if shutil.which(each, path=_PATH) is None]
                if lacking:
                    tell(f"{name}: left out, {', '.join(lacking)} missing")
                    missing = True
                    continue
                begun = time.monotonic()
                tell(f"{name} …")
                figures, was_ended = _measured(parts[name], options)
                took = f"{name}: {time.monotonic() - begun:.0f} s{', ended early' if was_ended else ''}"
                tell(took)
                _keep(options, took, figures)
                found += figures
                if was_ended:
                    break
        finally:
            sys.stdout.write(table(found) + "\n")
    if was_ended:
        return _WAS_ENDED
    return 1 if missing or not all(each.holds for each in found) else 0


def tell(*lines: str) -> None:
    """Say these lines to who watches."""
    sys.stderr.writelines(f"{line}\n" for line in lines)
    sys.stderr.flush()


@contextmanager
def told_to_end() -> Iterator[asyncio.Event]:
    """Yield what the first SIGINT or SIGTERM within the block sets; a second one acts as if this were not there."""
    told = asyncio.Event()
    before = {number: signal.getsignal(number) for number in _ENDS}

    def hear(number: int, _frame: object) -> None:
        _restore(before)
        told.set()
        tell(f"{signal.Signals(number).name}: what is under way goes to its end; once more ends it at once")

    for number in before:
        signal.signal(number, hear)
    try:
        yield told
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _measured(part: Part, options: argparse.Namespace) -> tuple[Sequence[Figure], bool]:
    """Return the figures of a part, and whether it was ended before its time."""
    try:
        return part.measure(options), False
    except Ended as ended:
        return ended.figures, True
    except KeyboardInterrupt:
        return (), True


def _keep(options: argparse.Namespace, took: str, figures: Sequence[Figure]) -> None:
    if options.out is None:
        return
    said = {name: value for name, value in sorted(vars(options).items()) if name not in ("parts", "out")}
    words = ", ".join(f"{name} {value}" for name, value in said.items())
    with options.out.open("a", encoding="utf-8") as file:
        file.write(f"## {took} ({words})\n\n{table(figures)}\n\n")


@contextmanager
def _one_way_to_end() -> Iterator[None]:
    """Have SIGTERM do what SIGINT does, so that a part takes its processes down with it."""
    before = {number: signal.getsignal(number) for number in _ENDS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        _restore(before)


def _take_usual_priority() -> None:
    """Leave the idle class, and be no nicer than others; what is started from now on inherits that."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, 0)
