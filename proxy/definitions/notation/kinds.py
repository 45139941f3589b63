"""Kinds of scalars: one class reads a node and describes it in the JSON Schema, so that the two agree."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from proxy.definitions.notation.nodes import Node, Scalar, described, shown
from proxy.definitions.notation.spelling import hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.notation.reading import Reading

T = TypeVar("T")

PLACEHOLDER: Final = re.compile(r"\{\{")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
DURATION_PATTERN: Final = r"^(\d+(\.\d+)?(h|m|s|ms))+$"
_SIZES: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE: Final = re.compile(r"(\d{1,12})(|B|KiB|MiB|GiB)")
_NUMBER: Final = re.compile(r"[-+]?\d{1,12}(\.\d{1,6})?")


class Kind(ABC, Generic[T]):
    """How one sort of node is read, described and laid over its default."""

    @abstractmethod
    def read(self, node: Node, reading: Reading) -> T:
        """Return the value; on a mistake note the fault and raise `UnreadableError`."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what may be written."""

    def merge(self, under: Node, over: Node) -> Node:
        """Return what holds when `under` is the default and `over` is written: `over`, but for mappings of keys."""
        return over


def scalar(node: Node, reading: Reading, expected: str) -> Scalar:
    """Return the node if it is a scalar with something in it."""
    if not isinstance(node, Scalar) or node.is_null:
        raise reading.refused(node, "wrong_type", f"expected {expected}, found {described(node)}")
    return node


def without_placeholder(node: Scalar, reading: Reading) -> str:
    """Return the source text if no placeholder stands in it."""
    if PLACEHOLDER.search(node.text):
        raise reading.refused(
            node,
            "no_effect",
            "a placeholder in braces has no effect here; text that has braces may come from {env: NAME}",
        )
    return node.text


@dataclass(frozen=True)
class Text(Kind[str]):
    """Text as it stands in the file. `check` returns what is wrong with it as (code, message), or None."""

    expected: str = "text"
    check: Callable[[str], tuple[str, str] | None] | None = None
    pattern: str | None = None
    empty: bool = False

    def read(self, node: Node, reading: Reading) -> str:
        text = without_placeholder(scalar(node, reading, self.expected), reading)
        if not text and not self.empty:
            raise reading.refused(node, "wrong_type", f"expected {self.expected}, found empty text")
        if self.check is not None and (wrong := self.check(text)) is not None:
            raise reading.refused(node, *wrong)
        return text

    def schema(self) -> dict[str, Any]:
        # A plain `0012` or `2` is text for us and a number for an editor.
        pattern = self.pattern or (None if self.empty else r"\S")
        return {"type": ["string", "number", "boolean"]} | ({"pattern": pattern} if pattern else {})


@dataclass(frozen=True)
class Flag(Kind[bool]):
    """`true` or `false`; YAML's other spellings are refused, since half of the tools read them as text."""

    def read(self, node: Node, reading: Reading) -> bool:
        if isinstance(node, Scalar) and node.plain and node.text in {"true", "false"}:
            return node.text == "true"
        raise reading.refused(node, "wrong_type", f"expected true or false, found {_found(node)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole(Kind[int]):
    """A whole number within a range, both ends included."""

    low: int
    high: int

    def read(self, node: Node, reading: Reading) -> int:
        text = scalar(node, reading, "a whole number")
        if not text.plain or not re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", text.text, re.ASCII):
            raise reading.refused(node, "wrong_type", f"expected a whole number, found {_found(node)}")
        number = int(text.text)
        if not self.low <= number <= self.high:
            raise reading.refused(node, "out_of_range", f"{number} is not between {self.low} and {self.high}")
        return number

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Duration(Kind[float]):
    """`500ms`, `30s`, `5m`, `1h`, `1h30m`, in seconds; a bare number is a fault, since nobody knows its unit."""

    low: str = "1ms"
    high: str = "24h"

    def read(self, node: Node, reading: Reading) -> float:
        text = scalar(node, reading, "a duration such as 30s").text
        if text == "0":
            text = "0s"
        elif text.startswith("-") and (_NUMBER.fullmatch(text) or parse_duration(text[1:])):
            raise reading.refused(node, "out_of_range", f"{text} is not between {self.low} and {self.high}")
        elif _NUMBER.fullmatch(text):
            raise reading.refused(node, "wrong_type", f"{text} has no unit; write {text.lstrip('+-')}s for seconds")
        seconds = parse_duration(text)
        if seconds is None:
            raise reading.refused(
                node, "wrong_type", f"expected a duration such as 500ms, 30s, 5m or 1h, found {_found(node)}"
            )
        if not _seconds(self.low) <= seconds <= _seconds(self.high):
            raise reading.refused(node, "out_of_range", f"{text} is not between {self.low} and {self.high}")
        return seconds

    def schema(self) -> dict[str, Any]:
        described = {"type": "string", "pattern": DURATION_PATTERN}
        return {"anyOf": [described, {"const": 0}]} if _seconds(self.low) == 0 else described


@dataclass(frozen=True)
class RatioOrDuration(Kind[float]):
    """A ratio up to 0.9, or a duration of 2 s and more: the two never meet, so one number holds either."""

    def read(self, node: Node, reading: Reading) -> float:
        text = scalar(node, reading, "a ratio such as 0.4 or a duration such as 5m").text
        if _NUMBER.fullmatch(text) and float(text) <= 1:
            if not 0 <= float(text) <= 0.9:
                raise reading.refused(node, "out_of_range", f"the ratio {text} is not between 0 and 0.9")
            return float(text)
        return Duration("2s", "720h").read(node, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 0.9}, Duration("2s", "720h").schema()]}


@dataclass(frozen=True)
class Size(Kind[int]):
    """`64KiB`, `1MiB`; a bare number is bytes."""

    low: int
    high: int

    def read(self, node: Node, reading: Reading) -> int:
        text = scalar(node, reading, "a size such as 64KiB").text
        found = _SIZE.fullmatch(text)
        if found is None:
            # `KB` and `kib` are the usual slips.
            known = {
                "kb": "KiB",
                "k": "KiB",
                "kib": "KiB",
                "mb": "MiB",
                "m": "MiB",
                "mib": "MiB",
                "gb": "GiB",
                "gib": "GiB",
            }
            slip = re.fullmatch(r"(\d{1,12}) ?([a-z]+)", text, re.IGNORECASE | re.ASCII)
            unit = known.get(slip[2].lower()) if slip else None
            advice = f"; write {slip[1]}{unit}" if slip and unit else ""
            raise reading.refused(
                node, "wrong_type", f"expected a size such as 64KiB or 1MiB, found {_found(node)}{advice}"
            )
        size = int(found[1]) * _SIZES[found[2]]
        if not self.low <= size <= self.high:
            raise reading.refused(
                node, "out_of_range", f"{text} is not between {size_text(self.low)} and {size_text(self.high)}"
            )
        return size

    def schema(self) -> dict[str, Any]:
        numbers = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [{"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB)?$"}, numbers]}


@dataclass(frozen=True)
class Choice(Kind[str]):
    """One of a few words, by source text: `off` is the word, not a boolean."""

    choices: tuple[str, ...]

    def read(self, node: Node, reading: Reading) -> str:
        text = scalar(node, reading, f"one of {', '.join(self.choices)}").text
        if text in self.choices:
            return text
        guess = hint(text, self.choices)
        raise reading.refused(node, "unknown_value", f"{shown(text)} is not one of {', '.join(self.choices)}{guess}")

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


def parse_duration(text: str) -> float | None:
    """Return the seconds of `1h30m`, `500ms` …, None if it is not a duration."""
    found = _DURATION.fullmatch(text) if text and len(text) <= 40 and text.isascii() else None
    if found is None:
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS.values(), strict=True) if part)


def size_text(size: int) -> str:
    """Return a size as the operator would write it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None:
        raise ValueError(text)
    return seconds


def _found(node: Node) -> str:
    return shown(node.text) if isinstance(node, Scalar) else described(node)
