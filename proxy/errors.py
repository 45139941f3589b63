"""What can go wrong, as types; foreign exceptions become one of these where they arise.

ProxyError
├── DefinitionsError       the operator's files: every fault at once            exit status 78
├── MachineError           the machine: a port is taken, a file limit too low   exit status 71
└── Refusal                one exchange ends with an own answer                 see `problem`
    └── TokenUnavailable   … because there is no token to send
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.problem import Problem


class ProxyError(Exception):
    """The root of what this package raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in the definitions: where it stands, what it is and what to do about it.

    `line` and `column` count from 1; 0 means that the fault has no place in a file, `file` "" that there is no file.
    `message` never quotes a secret.
    """

    file: str
    line: int
    column: int
    path: str
    code: str
    message: str

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return ": ".join(part for part in (place, self.path, self.message) if part)


class DefinitionsError(ProxyError):
    """The definitions can't be used; carries all their faults, sorted by place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class MachineError(ProxyError):
    """The machine refuses what the definitions ask for: a port is taken, a path can't be bound."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Refusal(ProxyError):
    """An exchange ends with an own answer instead of the upstream's response."""

    def __init__(self, problem: Problem, detail: str, *, retry_after: float | None = None) -> None:
        self.problem = problem
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(f"{problem.code}: {detail}")


class TokenUnavailable(Refusal):
    """No token can be sent: the reason, and when the next attempt is due (`retry_after`, seconds)."""
