"""Mistakes in a regular expression: another quantifier, a character less in a class, an alternative less. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNT: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")
_CLASS_ITEM: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\.|[^\\])(?:-(?:\\x[0-9a-fA-F]{2}|\\.|[^\]\\]))?", re.DOTALL)
_LOOK: Final = {"(?=": "(?!", "(?!": "(?=", "(?<=": "(?<!", "(?<!": "(?<="}


class _Piece(NamedTuple):
    kind: str  # "atom", "class", "quantifier", "open", "close", "bar", "anchor"
    begin: int
    end: int


def mistakes(pattern: str) -> Iterator[str]:
    """Yield patterns that differ from this one by one mistake; those that compile, if this one does."""
    seen = {pattern}
    whole = _compiles(pattern)
    for found in _mistakes(pattern):
        if found not in seen and (_compiles(found) or not whole):
            seen.add(found)
            yield found


def _mistakes(pattern: str) -> Iterator[str]:
    pieces = list(_pieces(pattern))
    for piece in pieces:
        text = pattern[piece.begin : piece.end]
        before, after = pattern[: piece.begin], pattern[piece.end :]
        match piece.kind:
            case "quantifier":
                for other in _quantifiers(text):
                    yield before + other + after
            case "anchor":
                yield before + after
            case "open" if text in _LOOK:
                yield before + _LOOK[text] + after
            case "class":
                for other in _classes(text):
                    yield before + other + after
    yield from _without_alternatives(pattern, pieces)


def _pieces(pattern: str) -> Iterator[_Piece]:
    at = 0
    while at < len(pattern):
        begin = at
        sign = pattern[at]
        if sign == "\\":
            at += 4 if pattern[at + 1 : at + 2] == "x" else 2
            yield _Piece("anchor" if pattern[begin + 1 : at] in {"b", "Z", "A"} else "atom", begin, at)
        elif sign == "[":
            at += 2 if pattern.startswith("[^", at) else 1
            at += pattern[at : at + 1] == "]"
            while at < len(pattern) and pattern[at] != "]":
                at += 2 if pattern[at] == "\\" else 1
            at += 1
            yield _Piece("class", begin, at)
        elif sign == "(":
            opening = re.compile(r"\((?:\?(?:<?[=!]|P<\w+>|[aiLmsux]*:))?").match(pattern, at)
            at = opening.end() if opening else at + 1
            yield _Piece("open", begin, at)
        elif sign in "*+?" or (sign == "{" and _COUNT.match(pattern, at)):
            counted = _COUNT.match(pattern, at)
            at = counted.end() if counted else at + 1
            at += pattern[at : at + 1] in {"?", "+"}
            yield _Piece("quantifier", begin, at)
        else:
            at += 1
            kind = {")": "close", "|": "bar", "^": "anchor", "$": "anchor"}.get(sign, "atom")
            yield _Piece(kind, begin, at)


def _quantifiers(text: str) -> Iterator[str]:
    counted = _COUNT.match(text)
    if counted is not None:
        low, comma, high = counted.groups()
        if comma:
            if high:
                yield f"{{{low},{int(high) + 1}}}" + text[counted.end() :]
            if low:
                yield f"{{{int(low) + 1},{high}}}" + text[counted.end() :]
        else:
            yield f"{{{int(low) + 1}}}" + text[counted.end() :]
        return
    yield {"*": "+", "+": "*", "?": ""}[text[0]] + text[1:]


def _classes(text: str) -> Iterator[str]:
    negated = text.startswith("[^")
    inner = text[2 if negated else 1 : -1]
    yield f"[{'' if negated else '^'}{inner}]"
    items = [found.span() for found in _CLASS_ITEM.finditer(inner)]
    if len(items) > 1:
        for begin, end in items:
            rest = inner[:begin] + inner[end:]
            if not (rest.startswith("^") and not negated):
                yield f"[{'^' if negated else ''}{rest}]"


def _without_alternatives(pattern: str, pieces: list[_Piece]) -> Iterator[str]:
    """Yield the pattern with one alternative of one group, or of the whole, left out."""
    groups: list[list[int]] = [[0]]  # of each open group: where its alternatives begin
    for piece in pieces:
        match piece.kind:
            case "open":
                groups.append([piece.end])
            case "bar":
                groups[-1].append(piece.end)
            case "close" if len(groups) > 1:
                yield from _each_left_out(pattern, groups.pop(), piece.begin)
    if len(groups) == 1:
        yield from _each_left_out(pattern, groups[0], len(pattern))


def _each_left_out(pattern: str, begins: list[int], end: int) -> Iterator[str]:
    if len(begins) < 2:
        return
    ends = [begin - 1 for begin in begins[1:]] + [end]
    alternatives = [pattern[begin:stop] for begin, stop in zip(begins, ends, strict=True)]
    for left_out in range(len(alternatives)):
        kept = "|".join(alternatives[:left_out] + alternatives[left_out + 1 :])
        yield pattern[: begins[0]] + kept + pattern[end:]


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        return False
    return True
