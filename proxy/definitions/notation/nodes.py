"""A YAML file as nodes that remember where they stand: the reader makes them, all else here takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1, 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar: its source text, and whether it stood there without quotes."""

    text: str
    plain: bool
    place: Place
    path: str

    @property
    def is_null(self) -> bool:
        """True for `null`, `~` and nothing at all."""
        return self.plain and self.text in NULLS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    place: Place
    path: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping. The place of each value is that of its key, since that is what a fault points at."""

    entries: dict[str, Node]
    place: Place
    path: str


Node = Scalar | Sequence | Mapping


def shown(text: str) -> str:
    """Return `text` in quotes, escaped and cut, so that a fault stays on one line."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def joined(path: str, key: str) -> str:
    """Return the path of `key` under `path`; a key that would not print is shown escaped."""
    step = key if key and key.isprintable() and len(key) <= _SHOWN else shown(key)
    return f"{path}.{step}" if path else step


def described(node: Node) -> str:
    """Name what stands there, for "expected …, found …"; the text of a scalar is not quoted."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar() if node.is_null:
            return "nothing"
        case Scalar(text=text, plain=True) if text in {"true", "false", "True", "False", "TRUE", "FALSE"}:
            return "a boolean"
        case Scalar(text=text, plain=True) if text.lstrip("+-").isdecimal():
            return "a number"
        case Scalar():
            return "text"
