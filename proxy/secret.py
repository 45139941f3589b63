"""A string that will not print itself: what is secret stays a `Secret` until the byte that leaves the process."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK: Final = "Secret('***')"
# Characters. Shorter ones are words that occur anyway: looked for in the log, they would shred it and be given away.
SHORTEST: Final = 8

# Every secret that is alive, so that a log line can be cleaned by value; by id, since equal secrets die one by one.
_living: Final[WeakValueDictionary[int, Secret]] = WeakValueDictionary()


def living() -> Iterator[Secret]:
    """Yield every secret that some part of the process still holds."""
    # References first, in one step: a reload makes secrets on another thread, and a dict may not grow while it is read.
    for reference in _living.valuerefs():
        secret = reference()
        if secret is not None:
            yield secret


@final
class Secret:
    """A client secret, password or token.

    Every way of turning an object into text gives the mask; `reveal()` is the one way out, and a test names the
    files that may call it. Comparison takes constant time. Pickling raises `TypeError`; copies are the same object.
    """

    __slots__ = ("__weakref__", "_text")
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)
        _living[id(self)] = self

    def reveal(self) -> str:
        """Return the text itself. Call it where the byte leaves the process, nowhere else."""
        return self._text

    def fingerprint(self) -> str:
        """Return eight hexadecimal digits by which a human can tell two secrets apart, not guess one."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:8]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


class Unprinted(dict[str, Any]):
    """What a server said beside its tokens: some of it may be secret, nobody knows which, so none of it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Unprinted({len(self)} members)"


class Beginning(bytes):
    """The first bytes of a token that has been replaced: no line may show what begins so, and the rest is forgotten."""

    __slots__ = ()
