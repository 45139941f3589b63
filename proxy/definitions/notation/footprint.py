"""What a load has looked at: each file with a digest of what was in it, and which files were found in the folders.

Whoever looks again the same way finds out whether another load would read something else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.definitions.notation.secretfile import FileRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
# A digest of the content, or the code by which the file was refused.
State = bytes | str
_TORN: Final = "read_twice_with_different_content"


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was found, and `look`, which finds it as it is now."""

    path: Path
    found: State
    look: Callable[[], State]


@dataclass(eq=False, slots=True)
class Footprint:
    """Remembers what one load reads, also where the load fails. `listed` are the definitions' files, in order."""

    files: dict[str, Seen] = field(default_factory=dict)
    listed: tuple[str, ...] = ()

    def read(self, path: Path, read: Callable[[], T], content: Callable[[T], bytes]) -> T:
        """Return what `read` returns; `content` is what of that counts. Raises `FileRefusedError` as `read` does."""
        look = partial(_state, read, content)
        try:
            result = read()
        except FileRefusedError as refused:
            self._note(Seen(path, refused.code, look))
            raise
        self._note(Seen(path, _digest(content(result)), look))
        return result

    def _note(self, seen: Seen) -> None:
        before = self.files.setdefault(str(seen.path), seen)
        if before.found != seen.found:
            self.files[str(seen.path)] = Seen(seen.path, _TORN, seen.look)


def _state(read: Callable[[], T], content: Callable[[T], bytes]) -> State:
    try:
        return _digest(content(read()))
    except FileRefusedError as refused:
        return refused.code


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
