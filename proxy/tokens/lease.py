"""One issued token and its times: when it is due, when it must not be sent any more. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.access_token import AccessToken

# A token is given up this much before its end, so that it does not expire on its way to the upstream.
MARGIN: Final = 10.0
MARGIN_RATIO: Final = 0.1

# Renewing ahead by ratio stops helping somewhere: nobody needs the second half of a month as a reserve.
LONGEST_LEAD: Final = 3600.0
# Renewals of connections that began together drift apart by up to this part of the lead.
SPREAD: Final = 0.1
# Even a lead longer than the token's life leaves it this part of its life before it is due.
SHORTEST_REST: Final = 0.1
# A server that hands out the same token again is not asked once more at once.
SAME_TOKEN_REST: Final = 30.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by both clocks (seconds), and the entropy that decisions made now may use (`chance`, 0 ≤ x < 1).

    The monotonic clock does not see a suspended machine, the wall clock may be set back: whichever says that time is
    up is believed.
    """

    monotonic: float
    wall: float
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """The same instant on both clocks; infinite on both when it never comes."""

    monotonic: float
    wall: float

    def passed(self, at: Moment) -> bool:
        """Tell whether either clock has reached it."""
        return at.monotonic >= self.monotonic or at.wall >= self.wall


NEVER: Final = Deadline(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Lease:
    """A token that was issued.

    `expires` is what the server said; from `unusable` on it is not sent, from `due` on it is renewed; `renewed_at` is
    monotonic. `replaces_refused`: an upstream had refused its predecessor. `accepted`: an upstream is known to have
    taken it. `doubted`: it has been disputed.
    """

    token: AccessToken
    renewed_at: float
    due: Deadline
    unusable: Deadline
    expires: Deadline
    replaces_refused: bool
    accepted: bool = False
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """How early a token is renewed: a ratio of its life (≤ 1) or seconds; `written` by the operator, or a default."""

    value: float
    written: bool


def deadline(at: Moment, seconds: float) -> Deadline:
    """Return the instant that lies `seconds` after `at`."""
    return Deadline(at.monotonic + seconds, at.wall + seconds)


def unusable_after(lifetime: float) -> float:
    """Return for how many seconds a token of that lifetime may be sent."""
    return lifetime - min(MARGIN, MARGIN_RATIO * lifetime)


def due_after(lifetime: float, ahead: Ahead, chance: float) -> float:
    """Return after how many seconds a token of that lifetime is renewed; `chance` spreads, and only to earlier."""
    lead = ahead.value * lifetime if ahead.value <= 1 else ahead.value
    if not ahead.written:
        lead = min(lead, LONGEST_LEAD)
    lead *= 1 + SPREAD * chance
    return min(max(lifetime - lead, SHORTEST_REST * lifetime), unusable_after(lifetime))


def lease(
    token: AccessToken, lifetime: float | None, ahead: Ahead, *, at: Moment, replaces_refused: bool, same: bool
) -> Lease:
    """Return the lease of a token that was asked for `at`; `lifetime` None: it lives until it is refused.

    `same`: the server handed out the previous token again, with what is left of its life.
    """
    if lifetime is None:
        return Lease(token, at.monotonic, NEVER, NEVER, NEVER, replaces_refused)
    usable = unusable_after(lifetime)
    rest = due_after(lifetime, ahead, at.chance)
    if same:
        rest = min(max(rest, SAME_TOKEN_REST, lifetime / 2), usable)
    return Lease(
        token=token,
        renewed_at=at.monotonic,
        due=deadline(at, rest),
        unusable=deadline(at, usable),
        expires=deadline(at, lifetime),
        replaces_refused=replaces_refused,
    )
