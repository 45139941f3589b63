"""A connection's token as operators see it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from proxy.tokens.lifecycle import aged, next_renewal
from proxy.tokens.states import AuthorizationRequired, Flying, Nothing, Resting, holds, last_failure, state_of
from proxy.tokens.unavailable import NO_REQUEST

if TYPE_CHECKING:
    from proxy.tokens.lease import Moment
    from proxy.tokens.pace import Policy
    from proxy.tokens.states import Demand, Life, State


class NextAction(Enum):
    """What happens next, for operators."""

    NOTHING = "nothing"
    RENEWING = "renewing"
    RENEW = "renew"
    RETRY = "retry"
    AUTHORIZE = "authorize"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection's token as operators see it; times are wall seconds.

    `expires_at` is what the server said, None where it did not or nothing is held. `tried`: an attempt has ended.
    `had_token`: there has been a token. `last_error` is a code of ours.
    """

    state: State
    expires_at: float | None
    last_renewal_at: float | None
    last_error: str | None
    next_action: NextAction
    next_attempt_at: float | None
    tried: bool
    had_token: bool


def snapshot(
    life: Life, at: Moment, policy: Policy, demand: Demand, *, renewed_at: float | None, tried: bool
) -> Snapshot:
    """Return what operators see of a life; `renewed_at` is wall time."""
    life = aged(life, at)
    failure = last_failure(life)
    held = holds(life)
    expires = math.inf if held is None else held.expires.wall
    start = next_renewal(life, at, policy, demand)
    match life.errand:
        case Flying():
            action = NextAction.RENEWING
        case AuthorizationRequired():
            action = NextAction.AUTHORIZE
        case _ if math.isinf(start):
            action = NextAction.NOTHING
        case Resting():
            action = NextAction.RENEW
        case _:
            action = NextAction.RETRY
    return Snapshot(
        state=state_of(life),
        expires_at=expires if math.isfinite(expires) else None,
        last_renewal_at=renewed_at,
        last_error=None if failure is None or failure.code in NO_REQUEST else failure.code,
        next_action=action,
        next_attempt_at=at.wall + start - at.monotonic if math.isfinite(start) else None,
        tried=tried,
        had_token=not isinstance(life.holding, Nothing),
    )
