"""The environment as the process found it: kept for reloads, and taken away from whoever looks at the process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

# proc_pid_stat(5): fields 50 and 51 are where the environment begins and ends; the first after the name is field 3.
_BEGIN: Final = 50 - 3


class Environment(Mapping[str, str]):
    """What the variables were at the start. It shows no value but to who asks for a name; copies are refused.

    Values are plain text and no `Secret`s: which of them are secret only the definitions know, and a reload may name
    others. What is read as a secret becomes one.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Environment({len(self)} variables)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Environment is not serialised")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("an Environment is not copied")


def forget(names: Iterable[str], environ: MutableMapping[str, str]) -> None:
    """Remove these variables from `environ`, and their values from what /proc/PID/environ shows.

    The kernel shows the memory in which the process found its variables, so that is overwritten. Where it does not say
    where that is, it stays.
    """
    wanted = {name for name in names if environ.pop(name, None) is not None}
    if wanted:
        begin, end = _block()
        _overwrite({os.fsencode(name) for name in wanted}, begin, end)


def _block() -> tuple[int, int]:
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return int(fields[_BEGIN]), int(fields[_BEGIN + 1])
    except (OSError, ValueError, IndexError):
        return 0, 0


def _overwrite(names: set[bytes], begin: int, end: int) -> None:
    at = begin
    while at < end:
        length = len(ctypes.string_at(at))  # each ends with a zero byte, the last one too
        name, mark, _ = ctypes.string_at(at, length).partition(b"=")
        if mark and name in names:
            ctypes.memset(at + len(name) + 1, 0, length - len(name) - 1)
        at += length + 1
