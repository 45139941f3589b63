"""One-line outcomes of what was asked for on a page: kept until the page that follows has shown them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT: Final = 100  # more than operators can click before their browsers follow


@dataclass(frozen=True, slots=True)
class Note:
    """What became of it, in a sentence of ours that names no secret."""

    connection: str
    good: bool
    text: str


class Notes:
    """Keeps the newest hundred; `entropy` gives random bytes for their names."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._notes: OrderedDict[str, Note] = OrderedDict()

    def add(self, note: Note) -> str:
        """Keep a note; return the name by which the next page finds it."""
        name = urlsafe_b64encode(self._entropy(9)).decode()
        self._notes[name] = note
        while len(self._notes) > _KEPT:
            self._notes.popitem(last=False)
        return name

    def take(self, name: str) -> Note | None:
        """Return the note and forget it; None when there is none (any more)."""
        return self._notes.pop(name, None)
