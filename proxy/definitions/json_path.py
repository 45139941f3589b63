"""Paths into a JSON document: `access_token`, `data.0.token`, `items[0]["odd.key"]`, `$` for all of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

# One step: `name`, `[12]` or `["any JSON string"]`.
_NAME: Final = re.compile(r"""[^.\[\]"\s]+""")
_INDEX: Final = re.compile(r"\[(\d{1,9})\]")
_QUOTED: Final = re.compile(r'\[("(?:[^"\\]|\\.)*")\]')


class PathError(ValueError):
    """The text is not a path; the message says where it stops being one."""


class Missing(Enum):
    """The one value that no document holds: the path leads nowhere."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path; `text` is what the operator wrote. No steps: the document itself."""

    text: str
    steps: tuple[str | int, ...]

    def find(self, document: object) -> object:
        """Return what lies at the end of the path, or `MISSING`; never raises.

        A number written as a name (`.0`) is an index into a list and a key of an object.
        """
        for step in self.steps:
            if isinstance(document, Mapping):
                if (key := str(step)) not in document:
                    return MISSING
                document = document[key]
            elif isinstance(document, Sequence) and not isinstance(document, str | bytes):
                index = _as_index(step)
                if index is None or index >= len(document):
                    return MISSING
                document = document[index]
            else:
                return MISSING
        return document


@lru_cache(maxsize=256)
def compile_path(text: str) -> Path:
    """Return the path that `text` spells; raise `PathError` when it spells none."""
    if not text:
        raise PathError("a path can't be empty")
    steps: list[str | int] = []
    place = 1 if text.startswith("$") else 0
    wants_name = place == 0
    while place < len(text):
        if text[place] == "[":
            if quoted := _QUOTED.match(text, place):
                steps.append(_unquote(quoted[1], place))
                place = quoted.end()
            elif index := _INDEX.match(text, place):
                steps.append(int(index[1]))
                place = index.end()
            else:
                raise PathError(f"no index or quoted key at character {place + 1}")
        elif wants_name or text[place] == ".":
            place += 0 if wants_name else 1
            name = _NAME.match(text, place)
            if name is None:
                raise PathError(f"no name at character {place + 1}")
            steps.append(name[0])
            place = name.end()
        else:
            raise PathError(f"neither a dot nor a bracket at character {place + 1}")
        wants_name = False
    return Path(text, tuple(steps))


def _unquote(quoted: str, place: int) -> str:
    try:
        key = json.loads(quoted)
    except ValueError as error:
        raise PathError(f"no quoted key at character {place + 1}") from error
    return str(key)


def _as_index(step: str | int) -> int | None:
    if isinstance(step, int):
        return step
    # Nine digits are more than any answer has members; `isdigit` alone would let other scripts' digits through.
    return int(step) if len(step) <= 9 and step.isascii() and step.isdigit() else None
