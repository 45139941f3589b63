"""What one renewal is made of while it is under way, and how it ended. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from proxy.oauth.failure import Failure, Outcome
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.tokens.lease import Moment, unusable_after
from proxy.tokens.states import Failed, Landed
from proxy.tokens.stored import SharedToken

if TYPE_CHECKING:
    from proxy.oauth.grant import Authorization
    from proxy.oauth.response import Issued
    from proxy.secret import Secret

STORE_UNAVAILABLE: Final = Failure(Outcome.OTHER_ERROR, "store_unavailable")


@dataclass(frozen=True, slots=True)
class Renewal:
    """How one renewal ended. `grant` is what the last of its requests asked with, `asked_at` when that one was sent.

    `refreshable`: a refresh token is held. `seconds`: the duration of all its `requests`. `lost`: why the refresh
    token was given up, "" when it was not. `held` is what the connection is granted now. `skew` is how far the server's
    clock was ahead. `stale`: the grant was replaced or given back meanwhile, so what this brought is not to be used.
    `adopted`: another replica made the requests, and the token is everybody's.
    """

    result: Issued | Failure
    grant: str
    asked_at: Moment
    refreshable: bool
    seconds: float
    requests: int
    lost: str
    held: Grant = NO_GRANT
    skew: float = 0.0
    stale: bool = False
    adopted: bool = False


@dataclass(slots=True)
class Attempt:
    """One renewal under way.

    `epoch` is the generation it belongs to, `consent`: a human brings a grant by it. `since` and `known` are the
    version and the access token that were in use when it began. `version` is that of the store when it was loaded for
    this, or saved last. `intended`: the store knows that the refresh token is about to be used. `doubtful`: it was
    used before, and nobody knows what became of that.
    """

    began: float
    held: Grant
    epoch: int = 0
    consent: bool = False
    since: int = 0
    known: Secret | None = None
    version: int = 0
    intended: bool = False
    doubtful: bool = False
    grant: str = ""
    asked_at: Moment | None = None
    result: Issued | Failure | None = None
    sent: int = 0
    lost: str = ""
    authorization: Authorization | None = None


def event_of(renewal: Renewal) -> Landed | Failed:
    """Return a renewal in the words of a life."""
    result = renewal.result
    if isinstance(result, Failure):
        return Failed(result, renewal.refreshable)
    return Landed(
        result.access_token,
        result.lifetime,
        renewal.asked_at,
        renewal.refreshable,
        renewal.held.fields,
        renewal.held.callback,
        renewal.adopted,
    )


def granted(before: Grant, issued: Issued) -> Grant:
    """Return what a connection is granted by an answer; a refresh token that was not replaced stays."""
    return replace(
        before,
        refresh_token=issued.refresh_token or before.refresh_token,
        access_token=issued.access_token,
        fields=issued.fields,
    )


def digest(token: Secret | None) -> str:
    """Return by what a refresh token is known in the store beside itself; "" for none."""
    return "" if token is None else hashlib.sha256(token.reveal().encode()).hexdigest()


def shared(issued: Issued, asked_at: Moment) -> SharedToken:
    """Return a token that was issued as replicas share it."""
    return SharedToken(issued.access_token, asked_at.wall, issued.lifetime, issued.fields)


def age(token: SharedToken, at: Moment) -> float:
    """Return how long ago a token was asked for, in seconds; a clock that is behind makes it new, not younger."""
    return max(at.wall - token.asked_at, 0.0)


def serves(token: SharedToken, at: Moment) -> bool:
    """Tell whether a shared token may still be sent."""
    return age(token, at) < (math.inf if token.lifetime is None else unusable_after(token.lifetime))


def asked(token: SharedToken, at: Moment) -> Moment:
    """Return when a shared token was asked for, by both clocks of this machine."""
    passed = age(token, at)
    return Moment(at.monotonic - passed, at.wall - passed, at.chance)
