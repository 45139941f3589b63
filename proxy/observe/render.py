"""How one event becomes one line: pure. Whatever a peer wrote ends as printable text of bounded size, on one line."""

from __future__ import annotations

import json
import re
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Per field, counted as it is written out: a peer decides how long its texts are, not how long our lines are.
FIELD_LIMIT: Final = 1024
_MARK: Final = "[truncated]"
# Innermost frames are the ones that tell; more would only be cut.
_FRAMES: Final = 8
# C0, DEL, C1, soft hyphen, bidi and zero-width controls, line separators, byte order mark, surrogates, tag characters.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}

Field = str | int | float | None


def printable(text: str) -> str:
    """Return `text` with every character that moves, hides or reorders others written as an escape."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clamp(text: str) -> str:
    """Return `text`, cut so that it takes at most 1 KiB once it is escaped; a cut one says so at its end."""
    if len(text) <= FIELD_LIMIT // 12:
        return text
    size = 0
    kept = 0
    for character in text:
        size += _width(character)
        if size > FIELD_LIMIT:
            return text[:kept] + _MARK
        if size <= FIELD_LIMIT - len(_MARK):
            kept += 1
    return text


def _width(character: str) -> int:
    if character in '"\\':
        return 2
    if " " <= character <= "~":
        return 1
    return 6 if character <= "\uffff" else 12


def json_line(event: Mapping[str, Field]) -> bytes:
    """Return the event as one line of JSON in printable ASCII."""
    return json.dumps(event, separators=(",", ":")).replace("\x7f", "\\u007f").encode() + b"\n"


def console_line(event: Mapping[str, Field], *, colours: bool) -> bytes:
    """Return the event as one line for a human: time, level, what happened, the fields."""
    fields = dict(event)
    stamp = str(fields.pop("timestamp", ""))[11:23]
    level = str(fields.pop("level", "info"))
    name = printable(str(fields.pop("event", "")))
    shown = " ".join(f"{_paint(key, '36', colours=colours)}={_value(value)}" for key, value in fields.items())
    parts = (
        _paint(stamp, "2", colours=colours),
        _paint(f"{level:<7}", _COLOURS.get(level, "0"), colours=colours),
        _paint(f"{name:<18}", "1", colours=colours),
        shown,
    )
    return " ".join(parts).rstrip().encode() + b"\n"


def _value(value: Field) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    text = printable(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def _paint(text: str, code: str, *, colours: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colours else text


def timestamp(wall: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exception_fields(error: BaseException) -> dict[str, Field]:
    """Return what a line says of an exception: its chain of types and texts, and where it came from.

    Frames are file, line and function; never locals and never source text, which may hold secrets.
    """
    chain: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        chain.append(f"{type(link).__qualname__}: {link}".removesuffix(": "))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    where = " > ".join(f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames)
    return {"error": " <- ".join(chain), **({"at": where} if where else {})}


def _module(path: str) -> str:
    """Return the end of a path that names the module; where the installation lies is nobody's business."""
    for root in ("/site-packages/", "/lib/python3"):
        if root in path:
            return path.rpartition(root)[2]
    at = path.rfind("/proxy/")
    return path[at + 1 :] if at >= 0 else path.rpartition("/")[2]
