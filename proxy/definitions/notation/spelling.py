"""Did you mean …: the nearest of the words that would have been right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DISTANCE: Final = 2
_MAX_LENGTH: Final = 80


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice at the smallest edit distance from `word`, at most two, ignoring case, `-` and `_`."""
    if len(word) > _MAX_LENGTH:
        return None
    folded = _folded(word)
    ranked = sorted((_distance(folded, _folded(choice)), choice) for choice in choices)
    if not ranked or ranked[0][0] > min(MAX_DISTANCE, len(folded) - 1):
        return None
    return ranked[0][1]


def hint(word: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean …?)`, or nothing."""
    found = nearest(word, choices)
    return f" (did you mean {found}?)" if found else ""


def _folded(word: str) -> str:
    return word.replace("-", "").replace("_", "").lower()


def _distance(one: str, other: str) -> int:
    """Levenshtein's distance; where the lengths alone differ by more than two, just something larger than two."""
    if abs(len(one) - len(other)) > MAX_DISTANCE:
        return MAX_DISTANCE + 1
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]
