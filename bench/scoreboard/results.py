"""What the trials measure, and the words for it; pure. `rank` orders what one row measured: the lowest is the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

# More than this of a core for others: their caches are in the figures.
_QUIET: Final = 0.05
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


class Result(Protocol):
    """What one contestant did in one row."""

    @property
    def rank(self) -> tuple[float, ...]:
        """What is compared with the others, the most important first; as coarse as the differences that matter."""
        ...

    def __str__(self) -> str:
        """In a cell of the table."""
        ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """From the fault to the first good answer. `seconds` is None where there was none within `patience`."""

    seconds: float | None
    patience: float
    lost: Mapping[str, int]
    token_requests: int
    refused: int  # requests that reached the API with a token that it no longer takes

    @property
    def rank(self) -> tuple[float, ...]:
        seconds = self.patience if self.seconds is None else self.seconds
        return (self.seconds is None, sum(self.lost.values()), round(seconds))

    def __str__(self) -> str:
        lost = sum(self.lost.values())
        first = f"**none in {self.patience:g} s**" if self.seconds is None else f"{_seconds(self.seconds)}"
        words = f"{first}, {_none(lost)} lost"
        if lost:
            words += f" ({_outcomes(self.lost)})"
        return f"{words}; {_many(self.token_requests, 'token request')}, {self.refused} refused at the API"


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests that were refused all at once."""

    sent: int
    outcomes: Mapping[str, int]
    token_requests: int
    api_requests: int

    @property
    def rank(self) -> tuple[float, ...]:
        return (self.sent - self.outcomes.get("200", 0), self.token_requests)

    def __str__(self) -> str:
        return (
            f"{_many(self.token_requests, 'token request')}; {_outcomes(self.outcomes)}; "
            f"{self.api_requests} requests at the API"
        )


@dataclass(frozen=True, slots=True)
class Steady:
    """What an application that asks again and again gets within `seconds`, and what that costs the token endpoint."""

    seconds: float
    outcomes: Mapping[str, int]
    slowest: float
    token_requests: int

    @property
    def rank(self) -> tuple[float, ...]:
        return (sum(count for name, count in self.outcomes.items() if name != "200") > 0, self.token_requests)

    def __str__(self) -> str:
        return (
            f"{_outcomes(self.outcomes)}, the slowest after {_seconds(self.slowest)}; "
            f"{_many(self.token_requests, 'token request')} in {self.seconds:g} s"
        )


@dataclass(frozen=True, slots=True)
class Posted:
    """A body that was refused and sent again."""

    outcome: str
    identical: bool
    token_requests: int

    @property
    def rank(self) -> tuple[float, ...]:
        return (not self.identical,)

    def __str__(self) -> str:
        identical = "byte for byte" if self.identical else "**not delivered**"
        return f"{self.outcome}, {identical}; {_many(self.token_requests, 'token request')} more"


@dataclass(frozen=True, slots=True)
class Streamed:
    """Events that come some seconds apart."""

    first: float
    last: float
    whole: bool

    @property
    def rank(self) -> tuple[float, ...]:
        return (not self.whole, round(self.first, 1))

    def __str__(self) -> str:
        if not self.whole:
            return "**not both events**"
        return f"first after {_milliseconds(self.first)}, second after {_seconds(self.last)}"


@dataclass(frozen=True, slots=True)
class Rotation:
    """A client that leaves while the refresh token is exchanged. `grant` is what the server says of it."""

    grant: str
    after: str
    token_requests: int

    @property
    def rank(self) -> tuple[float, ...]:
        return (self.grant != "alive", self.after != "200")

    def __str__(self) -> str:
        grant = "grant alive" if self.grant == "alive" else "**grant lost**"
        return f"{grant}; the next request: {self.after}; {_many(self.token_requests, 'token request')} in all"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time per request in microseconds and resident memory in MiB; `origin` says where they are from.

    `foreign` is how much of the core others had meanwhile, of 1.
    """

    microseconds: float
    mebibytes: float
    origin: str
    foreign: float = 0.0

    @property
    def rank(self) -> tuple[float, ...]:
        return (round(self.microseconds), round(self.mebibytes))

    def __str__(self) -> str:
        others = f" (others had {self.foreign:.0%} of the core)" if self.foreign > _QUIET else ""
        return f"{self.microseconds:.0f} µs{others}, {self.mebibytes:.0f} MiB"


@dataclass(frozen=True, slots=True)
class Cannot:
    """A contestant that can't take part in a row, and why."""

    why: str

    @property
    def rank(self) -> tuple[float, ...]:
        return (float("inf"),)

    def __str__(self) -> str:
        return f"cannot: {self.why}"


@dataclass(frozen=True, slots=True)
class Failed:
    """A row in which a contestant could not be tried, and why."""

    why: str

    @property
    def rank(self) -> tuple[float, ...]:
        return (float("inf"),)

    def __str__(self) -> str:
        return f"not measured: {self.why}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.0f} ms"


def _none(count: int) -> str:
    return str(count) if count else "none"


def _many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _outcomes(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {_TIMES} {name}" for name, count in sorted(outcomes.items())) or "nothing"
