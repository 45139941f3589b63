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
# Of the file system itself, where a volume is mounted as the folder: nobody but root may look into it, or need to.
_LOST: Final = "lost+found"


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its path as faults name it, and the folder that relative paths in it start from.

    `closed`: it is no file but a folder that can't be looked into. What it holds may be definitions.
    """

    path: Path
    folder: Path
    closed: bool = False


def find(paths: Sequence[Path]) -> tuple[list[Source], list[Fault]]:
    """Return the files that `paths` stand for, in order, each once; a path that is not there is a fault."""
    sources: dict[str, Source] = {}
    faults = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be entered
            found = list(_below(path, path))
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
        return _looked_into(source.path) if source.closed else _read(source.path)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "its name is not usable"
        what = f"the file can't be read: {reason.lower()}"
        if source.closed:
            what = f"this folder can't be looked into: {reason.lower()}; let the proxy's user read it, or move it away"
        return Fault(str(source.path), 0, 0, "", "config_unreadable", what)


def _looked_into(folder: Path) -> Fault:
    """Return the fault of a folder that was closed a moment ago; raises `OSError` where it still is."""
    os.scandir(folder).close()
    return Fault(str(folder), 0, 0, "", "config_changed_while_reading", "the folder could not be read; try again")


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


def _below(folder: Path, top: Path) -> Iterator[Source]:
    """Yield the YAML files below a folder in name order: no dot entries, links to files but not to folders.

    A folder that can't be looked into stands for its files.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:  # it went while its siblings were looked at
        return
    except OSError:
        yield Source(folder, top, closed=True)
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == _LOST:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, top)
        elif entry.name.endswith(SUFFIXES) and not entry.is_dir():
            yield Source(folder / entry.name, top)
