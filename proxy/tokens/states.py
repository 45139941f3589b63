"""The states of a connection's token, alone in this file: what a life may be, what may happen to it, a drawing. Pure.

Two things go on at once, so a life has two parts: what there is to send (`Holding`) and what is being done about a new
token (`Errand`). `state_of` names the pair by one word of the closed set that operators see; `TRANSITIONS` lists how
that word may change. `lifecycle.step` is what changes a life.

    Holding: Nothing → Valid → Due → Expired        by time
             Valid, Due, Disputed → Spent           an upstream refused it: never sent again
             Valid, Due → Disputed                  refused although it was new: renewing did not help, so it is sent on
    Errand:  Resting → Flying → Resting             a token came
             Flying → BackingOff | Braked | AuthorizationRequired → Flying …

A word on length: most of it are values of two lines and their meaning, which belong side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.access_token import AccessToken
    from proxy.oauth.failure import Failure
    from proxy.secret import Secret
    from proxy.tokens.lease import Lease, Moment
    from proxy.tokens.pace import Pause


class State(StrEnum):
    """The word for a life: label of a metric, column of a status page. `not_applicable`: there is no keeper."""

    NONE = "none"
    VALID = "valid"
    DUE = "due"
    EXPIRED = "expired"
    SPENT = "spent"
    DISPUTED = "disputed"
    BACKOFF = "backoff"
    BRAKED = "braked"
    AUTHORIZATION_REQUIRED = "authorization_required"
    NOT_APPLICABLE = "not_applicable"


# ---------------------------------------------------------------------------------------------- what there is to send


@dataclass(frozen=True, slots=True)
class Nothing:
    """There has been no token yet."""


@dataclass(frozen=True, slots=True)
class Valid:
    """It is sent."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Due:
    """Still sent, but to be renewed."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Disputed:
    """Refused although it was new; still sent, for nothing better is to be had."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Expired:
    """Its time is up."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Spent:
    """Refused by an upstream: never sent again."""

    lease: Lease


Holding = Nothing | Valid | Due | Disputed | Expired | Spent

# ------------------------------------------------------------------------------------- what is done about a new token


@dataclass(frozen=True, slots=True)
class Resting:
    """Nothing is under way."""


@dataclass(frozen=True, slots=True)
class BackingOff:
    """The last of `failures` attempts in a row failed; the next one comes by itself. `chance` made this pause."""

    failure: Failure
    failures: int
    pause: Pause
    chance: float


@dataclass(frozen=True, slots=True)
class Braked:
    """The server rejects this client: asking on would lock it out.

    `until` is monotonic; infinite: until someone acts.
    """

    failure: Failure
    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class AuthorizationRequired:
    """Only a human can bring a new grant."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Flying:
    """A renewal is under way; `after`: what went before it."""

    after: Resting | BackingOff | Braked


Errand = Resting | Flying | BackingOff | Braked | AuthorizationRequired


@dataclass(frozen=True, slots=True)
class Cooldown:
    """After a new token was refused too: refusals are relayed `until` then (monotonic). `rung` counts the doublings."""

    until: float
    rung: int


@dataclass(frozen=True, slots=True)
class Life:
    """Everything that is known about one connection's token; times are monotonic, -inf stands for never.

    `begun`: when the last renewal began. `spent_at`: when a token was spent last. `asked`: one renewal is wanted
    whatever else is true. `refreshable`: a refresh token is held. `rejections`: when passwords were refused.
    """

    holding: Holding = Nothing()
    errand: Errand = Resting()
    cooldown: Cooldown | None = None
    begun: float = -math.inf
    spent_at: float = -math.inf
    asked: bool = False
    refreshable: bool = False
    rejections: tuple[float, ...] = ()
    generation: int = 0


# ------------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Demand:
    """Who needs a token: requests that wait (`waiting`), requests that took one since the last renewal (`used`)."""

    waiting: bool = False
    used: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """Time has passed, or the demand has changed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A renewal is wanted: by an operator, or (`first`) only if there has never been a token."""

    first: bool = False


@dataclass(frozen=True, slots=True)
class RefusedUpstream:
    """An upstream refused `token`. `replayed`: it had refused the same request before, with an earlier token."""

    token: AccessToken
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedUpstream:
    """An upstream accepted `token`."""

    token: AccessToken


@dataclass(frozen=True, slots=True)
class Landed:
    """A token came, asked for at `asked_at`, living `lifetime` seconds (None: unknown).

    `adopted`: another replica had asked for it.
    """

    value: Secret
    lifetime: float | None
    asked_at: Moment
    refreshable: bool
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)
    callback: Mapping[str, str] = field(default_factory=dict, repr=False)
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The renewal brought no token."""

    failure: Failure
    refreshable: bool


@dataclass(frozen=True, slots=True)
class Revoked:
    """The tokens have been given back."""


@dataclass(frozen=True, slots=True)
class Regained:
    """What renewals have failed for is there again: the store, or a grant that another replica has brought."""


Event = Looked | Asked | RefusedUpstream | AcceptedUpstream | Landed | Failed | Revoked | Regained


class Action(Enum):
    """What the keeper has to do.

    `START`: begin a renewal. `RELAY`: the refused request gets the upstream's own response.
    """

    START = "start"
    RELAY = "relay"


# ------------------------------------------------------------------------------------------------------------ reading


def holds(life: Life) -> Lease | None:
    """Return the lease that serves; None when requests have to wait."""
    match life.holding:
        case Valid(held) | Due(held) | Disputed(held):
            return held
        case Nothing() | Expired() | Spent():
            return None
        case _:
            assert_never(life.holding)


def state_of(life: Life) -> State:
    """Return the one word for a life: what is sent comes first, then what stands in the way of a new token."""
    match life.holding, obstacle(life.errand):
        case Valid(), _:
            return State.VALID
        case Due(), _:
            return State.DUE
        case Disputed(), _:
            return State.DISPUTED
        case _, BackingOff():
            return State.BACKOFF
        case _, Braked():
            return State.BRAKED
        case _, AuthorizationRequired():
            return State.AUTHORIZATION_REQUIRED
        case Nothing(), _:
            return State.NONE
        case Expired(), _:
            return State.EXPIRED
        case _:
            return State.SPENT


def last_failure(life: Life) -> Failure | None:
    """Return why there is no new token, None while nothing is wrong."""
    found = obstacle(life.errand)
    return None if isinstance(found, Resting) else found.failure


def obstacle(errand: Errand) -> Resting | BackingOff | Braked | AuthorizationRequired:
    """Return what stands in the way of a new token; a renewal under way leaves it standing until it succeeds."""
    return errand.after if isinstance(errand, Flying) else errand


# ------------------------------------------------------------------------------------------------------------ drawing

_SERVES: Final = (State.VALID, State.DUE, State.DISPUTED)
_GONE: Final = (State.NONE, State.EXPIRED, State.SPENT)

# From, to, why. A transition that is not here does not happen: a test walks through lives at random to see that.
TRANSITIONS: Final[tuple[tuple[State, State, str], ...]] = (
    (State.VALID, State.DUE, "refresh_ahead is reached"),
    (State.VALID, State.DISPUTED, "refused although new"),
    (State.DUE, State.DISPUTED, "refused although new"),
    (State.DUE, State.VALID, "renewed"),
    (State.DISPUTED, State.VALID, "renewed, or the cooldown is over"),
    (State.DISPUTED, State.DUE, "the cooldown is over"),
    *((before, State.EXPIRED, "its time is up") for before in _SERVES),
    *((before, State.SPENT, "an upstream refused it") for before in _SERVES),
    *((before, State.BACKOFF, "expired or refused while attempts fail") for before in _SERVES),
    *((before, State.BRAKED, "expired or refused while the client is rejected") for before in _SERVES),
    *(
        (before, State.AUTHORIZATION_REQUIRED, "expired, refused or revoked, and only a human can help")
        for before in _SERVES
    ),
    *((before, State.VALID, "a token came") for before in (*_GONE, State.BACKOFF, State.BRAKED)),
    *((before, State.BACKOFF, "the attempt failed") for before in (*_GONE, State.BRAKED)),
    *((before, State.BRAKED, "the client is rejected") for before in (*_GONE, State.BACKOFF)),
    *(
        (before, State.AUTHORIZATION_REQUIRED, "the grant is lost or revoked")
        for before in (*_GONE, State.BACKOFF, State.BRAKED)
    ),
    *((State.BACKOFF, after, "the store is there again") for after in _GONE),
    *((State.AUTHORIZATION_REQUIRED, after, "another replica has a grant") for after in _GONE),
    (State.AUTHORIZATION_REQUIRED, State.VALID, "someone authorized it"),
    (State.AUTHORIZATION_REQUIRED, State.BACKOFF, "someone did, and the token had expired on arrival"),
    *((before, State.NONE, "revoked") for before in (*_SERVES, *_GONE[1:], State.BACKOFF, State.BRAKED)),
)


def diagram() -> str:
    """Return the states and transitions as a Mermaid state diagram."""
    lines = [f"    {before} --> {after}: {why}" for before, after, why in TRANSITIONS]
    starts = [f"    [*] --> {State.NONE}", f"    [*] --> {State.AUTHORIZATION_REQUIRED}: a human brings the grant"]
    return "\n".join(["stateDiagram-v2", *starts, *lines]) + "\n"
