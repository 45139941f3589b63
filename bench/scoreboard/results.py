"""What the trials measure, the words for it, and the figures of it that are compared; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds that no application notices, and that a busy machine adds to anything.
_MOMENT: Final = 0.5
# More than this of a core for others: their caches are in the figures.
_QUIET: Final = 0.05
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of which less is better; a difference of up to `margin` is none."""

    what: str
    value: float
    margin: float = 0.0

    def beats(self, other: Compared) -> bool:
        """Whether it is about the same and clearly less."""
        return self.what == other.what and self.value < other.value - self.margin


class Result(Protocol):
    """What one contestant did in one row."""

    @property
    def compared(self) -> tuple[Compared, ...]:
        """Its figures, each of them for itself: none makes up for another. Empty if it could not be tried."""
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
    def compared(self) -> tuple[Compared, ...]:
        seconds = math.inf if self.seconds is None else self.seconds
        return (
            Compared("seconds to the first 200", seconds, _MOMENT),
            Compared("requests lost", sum(self.lost.values())),
        )

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
    def compared(self) -> tuple[Compared, ...]:
        lost = self.sent - self.outcomes.get("200", 0)
        # Few token requests are nothing to be proud of where they helped nobody.
        asked = math.inf if lost else self.token_requests
        return (Compared("requests lost", lost), Compared("token requests", asked))

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
    median: float
    token_requests: int

    @property
    def compared(self) -> tuple[Compared, ...]:
        bad = sum(count for name, count in self.outcomes.items() if name != "200")
        return (
            Compared("requests without a 200", bad),
            Compared("token requests", self.token_requests),
            Compared("seconds until the application hears", self.median, _MOMENT),
        )

    def __str__(self) -> str:
        return (
            f"{_outcomes(self.outcomes)}, half of them within {_seconds(self.median)}; "
            f"{_many(self.token_requests, 'token request')} in {self.seconds:g} s"
        )


@dataclass(frozen=True, slots=True)
class Posted:
    """A body that was refused and sent again."""

    outcome: str
    identical: bool
    token_requests: int

    @property
    def compared(self) -> tuple[Compared, ...]:
        return (Compared("bodies not delivered", not self.identical),)

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
    def compared(self) -> tuple[Compared, ...]:
        first = self.first * 1000 if self.whole else math.inf
        return (Compared("ms to the first event", first, _MOMENT * 100),)

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
    def compared(self) -> tuple[Compared, ...]:
        return (
            Compared("grants lost", self.grant != "alive"),
            Compared("requests lost afterwards", self.after != "200"),
        )

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
    def compared(self) -> tuple[Compared, ...]:
        return (Compared("µs", self.microseconds, 1), Compared("MiB", self.mebibytes, 1))

    def __str__(self) -> str:
        others = f" (others had {self.foreign:.0%} of the core)" if self.foreign > _QUIET else ""
        return f"{self.microseconds:.0f} µs{others}, {self.mebibytes:.0f} MiB"


@dataclass(frozen=True, slots=True)
class Cannot:
    """A contestant that can't take part in a row, and why."""

    why: str

    @property
    def compared(self) -> tuple[Compared, ...]:
        return ()

    def __str__(self) -> str:
        return f"cannot: {self.why}"


@dataclass(frozen=True, slots=True)
class Failed:
    """A row in which a contestant could not be tried, and why."""

    why: str

    @property
    def compared(self) -> tuple[Compared, ...]:
        return ()

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
