"""What a reader of HTTP/1.1 makes of bytes: whole messages one after the other, and how it ended. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

Fields = tuple[tuple[bytes, bytes], ...]
_CODING: Final = b"transfer-encoding"


class Rest(Enum):
    """What is left behind the last whole message."""

    NOTHING = "nothing"
    PARTIAL = "the beginning of another message"
    FAULT = "what is no message"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `start` is (method, target) or (status,); names of fields are in lower case.

    `end` is where it ends in the bytes that were read, -1 where the reader does not tell.
    """

    start: tuple[bytes, ...]
    fields: Fields
    body: bytes
    version: bytes = b"1.1"
    end: int = field(default=-1, compare=False)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every field of that name, in order."""
        return [value for each, value in self.fields if each == name]


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one reader found; `why` is its reason for a fault, in its own words."""

    messages: tuple[Message, ...]
    rest: Rest
    why: str = field(default="", compare=False)


def tidy(fields: list[tuple[bytes, bytes]]) -> Fields:
    """Return fields as readings compare them; h11 writes the one coding that it knows in lower case."""
    return tuple(
        (
            low := bytes(name).lower(),
            bytes(value).strip(b" \t").lower() if low == _CODING else bytes(value).strip(b" \t"),
        )
        for name, value in fields
    )
