"""How fast a token endpoint may be asked again: back-off, brake, cooldown. Pure arithmetic, no state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.tokens.lease import Ahead

# While there are requests, no attempt is further away than this: a recovered server must be noticed within the patience
# of those that wait, and long before a token that still serves has come to its end.
LONGEST_WITH_REQUESTS: Final = 10.0
# `invalid_grant` on a grant that needs no refresh token rarely heals by itself: this times the longest back-off.
SLOW_FACTOR: Final = 10
# Three wrong passwords in an hour, and no more until someone acts: accounts are locked after five or so.
PASSWORD_STRIKES: Final = 3
PASSWORD_WINDOW: Final = 3600.0
# Attempts never follow each other faster than this, whatever the reason.
FLOOR: Final = 1.0
# `Retry-After` is never undercut; many clients told the same number come back spread over a tenth of it.
RETRY_AFTER_SPREAD: Final = 0.1
# Retries of the whole process are this far apart: 16 a second, so that no second holds more than 20 of them even where
# the network holds some back and lets them go together.
RETRY_GAP: Final = 0.0625


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator set, in seconds. `own_grant`: a lost refresh token is replaced without a human.

    `passwords`: that grant sends a password. `keep_alive` None: idle grants lapse.
    """

    ahead: Ahead
    keep_alive: float | None
    backoff_min: float
    backoff_max: float
    brake: float
    cooldown_min: float
    cooldown_max: float
    token_wait: float
    floor: float = FLOOR
    own_grant: bool = True
    passwords: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """When the next attempt may begin (monotonic): `eager` with requests, `lazy` without, `asked` for an operator.

    Neither comes before what the server asked for by `Retry-After`.
    """

    eager: float
    lazy: float
    asked: float


def pause(
    policy: Policy,
    *,
    begun: float,
    now: float,
    step: int,
    chance: float,
    slow: bool = False,
    retry_after: float | None = None,
) -> Pause:
    """Return the pause after the failure number `step` (0, 1, …) in a row: equal jitter, half fixed and half random.

    It runs from when the attempt had `begun`: one that was not answered for long has been a pause itself. What the
    server asks for runs from its answer.
    """
    jitter = 0.5 + 0.5 * chance
    least, most = (
        (policy.backoff_max, SLOW_FACTOR * policy.backoff_max) if slow else (policy.backoff_min, policy.backoff_max)
    )
    lazy = doubled(least, most, step) * jitter
    eager = lazy if slow else doubled(least, min(most, LONGEST_WITH_REQUESTS), step) * jitter
    server = 0.0 if retry_after is None else retry_after * (1 + RETRY_AFTER_SPREAD * chance)
    return Pause(max(begun + eager, now + server), max(begun + lazy, now + server), now + server)


def doubled(least: float, most: float, step: int) -> float:
    """Return `least` doubled `step` times, at most `most`."""
    # Past 60 doublings any unit of time has outgrown `most`; the power itself would not stop growing.
    return min(most, least * 2.0 ** min(step, 60))


def brake_after_password(policy: Policy, rejections: tuple[float, ...], now: float) -> float:
    """Return until when a password is not sent again (monotonic); `rejections` are the times it was refused."""
    recent = sum(1 for moment in rejections if now - moment < PASSWORD_WINDOW)
    return math.inf if recent >= PASSWORD_STRIKES else now + policy.brake
