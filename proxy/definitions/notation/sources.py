"""Which files belong to the definitions, and their bytes: folder rules and the reading of each file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.definitions.notation.reader import MAX_BYTES
from proxy.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its path as faults name it, and the folder that relative paths in it start from."""

    path: Path
    folder: Path


def find(paths: Sequence[Path]) -> tuple[list[Source], list[Fault]]:
    """Return the files that `paths` stand for, in order, each once; a path that is not there is a fault."""
    sources: dict[str, Source] = {}
    faults = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be entered
            found = [Source(file, path) for file in _below(path)]
            if not found:
                faults.append(Fault(str(path), 0, 0, "", "config_empty", "there is no *.yaml or *.yml in this folder"))
        else:
            found = [Source(path, path.parent)]
        for source in found:
            sources.setdefault(str(source.path), source)
    return list(sources.values()), faults


def load(source: Source) -> bytes | Fault:
    """Return the bytes of a file, no more than tells that it is too large, or the fault of one that can't be read."""
    try:
        return _read(source.path)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "its name is not usable"
        return Fault(str(source.path), 0, 0, "", "config_unreadable", f"the file can't be read: {reason.lower()}")


def _read(path: Path) -> bytes | Fault:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):  # a folder, too, where one took the place of a file
            return Fault(str(path), 0, 0, "", "config_unreadable", "this is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        # Half of it may be valid YAML, too.
        return Fault(str(path), 0, 0, "", "config_changed_while_reading", "the file is being written; try again")
    return data


def _below(folder: Path) -> Iterator[Path]:
    """Yield the YAML files below a folder in name order: no dot entries, links to files but not to folders."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name)
        elif entry.name.endswith(SUFFIXES) and not entry.is_dir():
            yield folder / entry.name
