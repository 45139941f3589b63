"""What servers and clients of the running test saw: U, T, what the client was answered, fault codes, exit statuses.

Whoever sees something says so here; who only looks after a case, or makes traffic beside it, does so `unseen`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass
class Seen:
    """One test: None where no server counted. `beside` counts good requests, lost ones and leaks of traffic beside it.

    `alone` is the reason why there may be none; `without` are the invariants that can't be asserted after it.
    `rest` and `lag` are seconds: until a process was as before, and that its event loop stood still, at most.
    """

    test: str = ""
    alone: str = ""
    without: frozenset[str] = frozenset()
    upstream: int | None = None
    tokens: int | None = None
    answers: set[str] = field(default_factory=set)
    faults: set[str] = field(default_factory=set)
    exits: set[int] = field(default_factory=set)
    beside: dict[str, int] = field(default_factory=dict)
    rest: float = 0.0
    lag: float = 0.0

    def plain(self) -> dict[str, object]:
        """Return it as values that go from process to process."""
        return {
            "U": self.upstream,
            "T": self.tokens,
            "answers": sorted(self.answers),
            "faults": sorted(self.faults),
            "exits": sorted(self.exits),
            "beside": self.beside,
            "rest": self.rest,
            "lag": self.lag,
        }


_now = Seen()
_unseen: ContextVar[bool] = ContextVar("unseen", default=False)


def begin(test: str, alone: str = "", without: Iterable[str] = ()) -> None:
    """Begin with a test; what was seen before is forgotten."""
    global _now  # noqa: PLW0603 one test at a time runs in a process
    _now = Seen(test, alone, frozenset(without))


def now() -> Seen:
    """Return what the running test has seen so far."""
    return _now


@contextmanager
def unseen() -> Iterator[None]:
    """What happens in this block, and in tasks that begin in it, is not the test's."""
    before = _unseen.set(True)
    try:
        yield
    finally:
        _unseen.reset(before)


def requests(upstream: int = 0, tokens: int | None = None) -> None:
    """Add what a server counted: complete heads at an upstream, token requests at an authorization server."""
    if _unseen.get():
        return
    _now.upstream = (_now.upstream or 0) + upstream
    if tokens is not None:
        asked_for(tokens)


def asked_for(tokens: int) -> None:
    """Add what an authorization server counted."""
    if not _unseen.get():
        _now.tokens = (_now.tokens or 0) + tokens


def answered(status: int, code: str = "") -> None:
    """Note a response that a client read; `code` is that of an own answer."""
    if not _unseen.get():
        _now.answers.add(f"{status} {code}".strip())


def faults(codes: Iterable[str]) -> None:
    """Note the codes of faults in definitions."""
    if not _unseen.get():
        _now.faults.update(codes)


def ended(status: int) -> None:
    """Note how a process ended."""
    if not _unseen.get():
        _now.exits.add(status)
