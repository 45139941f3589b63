"""What a placeholder may call: the helpers of Handlebars that token requests need, by name. Pure.

Arguments arrive as text, or as the lists and maps of a token answer; every result is text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import UUID

from proxy.definitions.notation.spelling import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Argument = object  # text, a number, a boolean, or a list or map of these

_ALGORITHMS: Final = ("sha256", "sha384", "sha512", "sha1", "md5")
_ENCODINGS: Final = ("hex", "base64", "base64url")
_KEY_ENCODINGS: Final = ("utf8", "base64")
# What ECMAScript's encodeURIComponent leaves as it is, beside letters, digits and `-._~`.
_COMPONENT: Final = "!'()*"
# Directives that mean the same in every locale and C library.
_STRFTIME: Final = re.compile(r"(?:%[YmdHMSfjyFTzZGVu%]|[^%])*%[YmdHMSfjyFTzZGVu%](?:%[YmdHMSfjyFTzZGVu%]|[^%])*")


class CallError(Exception):
    """A helper can't do what it is asked; the text names the helper's rule, never an argument."""


@dataclass(frozen=True, slots=True)
class _Helper:
    """How many arguments a helper takes, which words some of them may be, and what it does."""

    least: int
    most: int
    run: Callable[[Sequence[Argument], float, Callable[[int], bytes]], str]
    words: tuple[tuple[int, tuple[str, ...]], ...] = ()  # position -> the words that may stand there


def text_of(value: Argument) -> str:
    """Return a scalar as text: numbers in decimal digits, booleans as `true` and `false`.

    Raises `CallError` for a list, a map, null, a number that is none, and text that is not Unicode.
    """
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise CallError("half a character (a lone surrogate) stands in the value") from None
            return value
        case bool():
            return "true" if value else "false"
        case int():
            try:
                return str(value)
            except ValueError:  # Python's own bound on digits
                raise CallError("the number is too long") from None
        case float():
            number = Decimal(repr(value))
            if not number.is_finite():
                raise CallError("the number is not finite")
            return str(int(value)) if value.is_integer() and abs(value) < 2**53 else f"{number:f}"
        case None:
            raise CallError("it is null")
        case list() | tuple():
            raise CallError("it is a list; put it together with join, or name one item")
        case _:
            raise CallError("it is a map; name a field of it, or use jsonSerialize")


def complaint(name: str, arguments: Sequence[str | None]) -> str | None:
    """Return what is wrong with a call as it is written, None if nothing is; an argument of None is not known yet."""
    helper = _HELPERS.get(name)
    if helper is None:
        return f"there is no helper {name[:40]}{hint(name, _HELPERS)}; there are {', '.join(_HELPERS)}"
    if not helper.least <= len(arguments) <= helper.most:
        return f"{name} is written {_USAGE[name]}"
    for position, words in helper.words:
        argument = arguments[position] if position < len(arguments) else None
        if argument is not None and argument.lower() not in words:
            return f"{name} is written {_USAGE[name]}, where argument {position + 1} is one of {', '.join(words)}"
    if name == "timestamp" and arguments[0] is not None:
        return _format_complaint(arguments[0])
    return None


def call(name: str, arguments: Sequence[Argument], now: float, entropy: Callable[[int], bytes]) -> str:
    """Return what a helper makes of its arguments. Raises `CallError`."""
    words = [argument if isinstance(argument, str) else None for argument in arguments]
    if (wrong := complaint(name, words)) is not None:
        raise CallError(wrong)
    try:
        return _HELPERS[name].run(arguments, now, entropy)
    except RecursionError:
        raise CallError("the value is nested too deep") from None


def takes_collections(name: str) -> bool:
    """Tell whether a list or a map may be an argument."""
    return name in {"join", "jsonSerialize"}


def varies(name: str) -> bool:
    """Tell whether a helper gives something else each time."""
    return name in {"timestamp", "uuid"}


def _base64_decode(text: str) -> bytes:
    """Read base64 and base64url, padded or not, as they stand in tokens and keys."""
    plain = text.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise CallError("the value is not base64") from None


def _decoded(text: str) -> str:
    try:
        return _base64_decode(text).decode()
    except UnicodeDecodeError:
        raise CallError("what the base64 stands for is not UTF-8 text") from None


def _encoded(digest: bytes, encoding: str) -> str:
    match encoding.lower():
        case "hex":
            return digest.hex()
        case "base64":
            return base64.b64encode(digest).decode("ascii")
        case _:
            return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _hash(algorithm: str, encoding: str, value: str) -> str:
    digest = hashlib.new(algorithm.lower(), value.encode(), usedforsecurity=False)
    return _encoded(digest.digest(), encoding)


def _hmac(algorithm: str, key: str, encoding: str, value: str, key_encoding: str = "utf8") -> str:
    raw = key.encode() if key_encoding.lower() == "utf8" else _base64_decode(key)
    return _encoded(hmac.digest(raw, value.encode(), algorithm.lower()), encoding)


def _join(arguments: Sequence[Argument]) -> str:
    delimiter, *rest = arguments
    items: list[Argument] = []
    for argument in rest:
        items += argument if isinstance(argument, list | tuple) else [argument]
    return text_of(delimiter).join(text_of(item) for item in items)


def _json(value: Argument) -> str:
    try:
        return text_of(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError):
        raise CallError("the value has no JSON form") from None


def _format_complaint(form: str) -> str | None:
    if form in {"X", "x"} or _STRFTIME.fullmatch(form):
        return None
    return "timestamp takes X (seconds), x (milliseconds) or a format of strftime such as %Y-%m-%dT%H:%M:%SZ"


def _timestamp(form: str, now: float) -> str:
    if form == "X":
        return str(int(now))
    if form == "x":
        return str(int(now * 1000))
    try:
        return text_of(datetime.fromtimestamp(now, UTC).strftime(form))
    except (ValueError, OverflowError, OSError):
        raise CallError("the time can't be written in that format") from None


def _of_text(run: Callable[..., str]) -> Callable[[Sequence[Argument], float, Callable[[int], bytes]], str]:
    return lambda arguments, _now, _entropy: run(*[text_of(argument) for argument in arguments])


_HELPERS: Final[dict[str, _Helper]] = {
    "base64Encode": _Helper(1, 1, _of_text(lambda text: base64.b64encode(text.encode()).decode("ascii"))),
    "base64Decode": _Helper(1, 1, _of_text(_decoded)),
    "encodeURIComponent": _Helper(1, 1, _of_text(lambda text: quote(text, safe=_COMPONENT))),
    "join": _Helper(2, 64, lambda arguments, _now, _entropy: _join(arguments)),
    "hash": _Helper(3, 3, _of_text(_hash), ((0, _ALGORITHMS), (1, _ENCODINGS))),
    "hmac": _Helper(4, 5, _of_text(_hmac), ((0, _ALGORITHMS), (2, _ENCODINGS), (4, _KEY_ENCODINGS))),
    "jsonSerialize": _Helper(1, 1, lambda arguments, _now, _entropy: _json(arguments[0])),
    "timestamp": _Helper(1, 1, lambda arguments, now, _entropy: _timestamp(text_of(arguments[0]), now)),
    "uppercase": _Helper(1, 1, _of_text(str.upper)),
    "lowercase": _Helper(1, 1, _of_text(str.lower)),
    "uuid": _Helper(0, 0, lambda _arguments, _now, entropy: str(UUID(bytes=entropy(16), version=4))),
}
_USAGE: Final = {
    "base64Encode": "base64Encode VALUE",
    "base64Decode": "base64Decode VALUE",
    "encodeURIComponent": "encodeURIComponent VALUE",
    "join": "join DELIMITER LIST",
    "hash": "hash ALGORITHM ENCODING VALUE",
    "hmac": "hmac ALGORITHM KEY ENCODING VALUE [KEY_ENCODING]",
    "jsonSerialize": "jsonSerialize VALUE",
    "timestamp": "timestamp FORMAT",
    "uppercase": "uppercase VALUE",
    "lowercase": "lowercase VALUE",
    "uuid": "uuid, alone",
}
HELPERS: Final = frozenset(_HELPERS)
