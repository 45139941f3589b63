"""How a life changes: `step` takes a life and an event and returns the next life and what is to be done. Pure.

The states themselves stand in `states`, the arithmetic of times in `lease` and `pace`; the keeper acts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from proxy.access_token import AccessToken
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.tokens.lease import lease, unusable_after
from proxy.tokens.pace import PASSWORD_STRIKES, brake_after_password, doubled, pause
from proxy.tokens.states import (
    AcceptedUpstream,
    Action,
    Asked,
    AuthorizationRequired,
    BackingOff,
    Braked,
    Cooldown,
    Demand,
    Disputed,
    Due,
    Expired,
    Failed,
    Flying,
    Landed,
    Looked,
    Nothing,
    RefusedUpstream,
    Regained,
    Resting,
    Revoked,
    Spent,
    Valid,
    holds,
    obstacle,
)

if TYPE_CHECKING:
    from proxy.tokens.lease import Moment
    from proxy.tokens.pace import Policy
    from proxy.tokens.states import Errand, Event, Life

_GIVEN_BACK: Final = Failure(Outcome.OTHER_ERROR, "revoked", Remedy.ANOTHER_GRANT)

# ------------------------------------------------------------------------------------------------------------ looking


def awaits_verdict(life: Life) -> bool:
    """Tell whether it matters that an upstream accepts the token: it is on trial, or a cooldown holds."""
    held = holds(life)
    return held is not None and not held.accepted and (held.replaces_refused or life.cooldown is not None)


def next_start(life: Life, policy: Policy, *, waiting: bool) -> float:
    """Return when the next renewal may begin (monotonic); infinite: not by itself. `waiting`: there are requests."""
    floor = life.begun + policy.floor
    match life.errand:
        case Resting():
            return floor
        case Flying():
            return life.begun
        case BackingOff(pause=rest):
            return max(floor, rest.asked if life.asked else rest.eager if waiting else rest.lazy)
        case Braked(until=until):
            return floor if life.asked else max(floor, until)
        case AuthorizationRequired():
            return math.inf
        case _:
            assert_never(life.errand)


def next_renewal(life: Life, at: Moment, policy: Policy, demand: Demand) -> float:
    """Return when the next renewal begins, as things stand (monotonic); infinite: not before something happens."""
    if isinstance(life.errand, Flying | AuthorizationRequired):
        return math.inf
    if _renewal_is_wanted(life, at, policy, demand):
        return next_start(life, policy, waiting=demand.waiting or demand.used)
    held = holds(life)
    due = math.inf if held is None or held.due.passed(at) else held.due.monotonic
    return min(due, _lapses(life, policy))


def wake_at(life: Life, at: Moment, policy: Policy, demand: Demand) -> float:
    """Return when the life has to be looked at again (monotonic); infinite: not before something happens."""
    held = holds(life)
    return min(math.inf if held is None else held.unusable.monotonic, next_renewal(life, at, policy, demand))


def is_known(life: Life, event: Landed | Failed, generation: int) -> bool:
    """Tell whether a renewal that began with `generation` brings nothing: another replica's token came before it.

    It may be that very token, which the life has, or a failure, which no longer matters.
    """
    if life.generation == generation or isinstance(life.holding, Nothing):
        return False
    return isinstance(event, Failed) or life.holding.lease.token.value == event.value


def undisturbed_until(life: Life, at: Moment, *, used: bool) -> float:
    """Return until when (wall) the token may be taken without a look at the life; -inf: not at all.

    `used`: a request has taken it since the last renewal.
    """
    held = holds(life)
    if held is None:
        return -math.inf
    match life.errand:
        case Resting():
            # Once it is due and used, the timer begins the renewal, and only the token's end matters.
            return held.unusable.wall if used and held.due.passed(at) else held.due.wall
        case BackingOff():
            # The next attempt comes sooner for who uses it.
            return held.unusable.wall if used else -math.inf
        case _:
            return held.unusable.wall


# ------------------------------------------------------------------------------------------------------------- moving


def step(life: Life, event: Event, at: Moment, policy: Policy, demand: Demand) -> tuple[Life, tuple[Action, ...]]:
    """Return what becomes of `life` by `event`, and what is to be done. The one way in which a life changes."""
    life = aged(life, at)
    actions: tuple[Action, ...] = ()
    match event:
        case Looked():
            pass
        case Asked(first=first):
            idle = not isinstance(life.errand, Flying | AuthorizationRequired)
            # Where a request was faster and failed, the prefetch does not cut the pause short.
            asked = idle and (not first or (isinstance(life.holding, Nothing) and isinstance(life.errand, Resting)))
            life = replace(life, asked=life.asked or asked)
        case RefusedUpstream():
            life, relay = _refused(life, event, at, policy)
            actions = (Action.RELAY,) if relay else ()
        case AcceptedUpstream():
            life = _accepted(life, event.token)
        case Landed():
            life = _landed(life, event, at, policy)
            demand = Demand()
        case Revoked():
            life = _revoked(life, policy)
        case Regained():
            if not isinstance(life.errand, Flying):
                # What has failed is wanted still, where the distance of two attempts keeps it from beginning now.
                life = replace(life, errand=Resting(), asked=life.asked or isinstance(life.errand, BackingOff | Braked))
        case Failed():
            life = _failed(replace(life, refreshable=event.refreshable), event.failure, at, policy)
        case _:
            assert_never(event)
    errand = life.errand
    if (
        isinstance(errand, Resting | BackingOff | Braked)
        and _renewal_is_wanted(life, at, policy, demand)
        and at.monotonic >= next_start(life, policy, waiting=demand.waiting or demand.used)
    ):
        return replace(life, errand=Flying(errand), begun=at.monotonic, asked=False), (*actions, Action.START)
    return life, actions


def aged(life: Life, at: Moment) -> Life:
    """Return the life with what time alone does to it."""
    held = holds(life)
    if held is None:
        return life
    if held.unusable.passed(at):
        return replace(life, holding=Expired(held))
    if isinstance(life.holding, Disputed) and _in_cooldown(life, at):
        return life
    # A wall clock that is set back does not make a due token valid again.
    if held.due.passed(at) or isinstance(life.holding, Due):
        return replace(life, holding=Due(held))
    return replace(life, holding=Valid(held))


def _in_cooldown(life: Life, at: Moment) -> bool:
    return life.cooldown is not None and at.monotonic < life.cooldown.until


def _renewal_is_wanted(life: Life, at: Moment, policy: Policy, demand: Demand) -> bool:
    """Tell whether a renewal should begin as soon as it may, where none is under way and no human is needed."""
    if life.asked or isinstance(life.errand, BackingOff | Braked) or at.monotonic >= _lapses(life, policy):
        return True
    match life.holding:
        case Nothing() | Expired():
            return demand.waiting
        case Spent():
            return True
        case Valid(held) | Due(held) | Disputed(held):
            return demand.used and held.due.passed(at)
        case _:
            assert_never(life.holding)


def _lapses(life: Life, policy: Policy) -> float:
    """Return when an idle grant is renewed lest it lapse (monotonic)."""
    if policy.keep_alive is None or not life.refreshable or isinstance(life.holding, Nothing):
        return math.inf
    return life.holding.lease.renewed_at + policy.keep_alive


def _refused(life: Life, event: RefusedUpstream, at: Moment, policy: Policy) -> tuple[Life, bool]:
    """Return the life after a refusal, and whether the upstream's response is relayed."""
    held = holds(life)
    if held is not None and held.token is not event.token:
        # It has been replaced: the request goes again with the new one, unless that is known to be no better.
        return life, isinstance(life.holding, Disputed) and not held.accepted
    if held is not None:
        if _in_cooldown(life, at):
            # That it was accepted meanwhile says that it was good, so now it may have gone bad. Or this request is
            # refused with any token: hence not more often than once in the shortest cooldown.
            if not held.accepted or at.monotonic - life.spent_at < policy.cooldown_min:
                return replace(life, holding=Disputed(replace(held, doubted=True))), True
        elif held.replaces_refused and not held.doubted and (event.replayed or not held.accepted):
            rung = 0 if life.cooldown is None else life.cooldown.rung + 1
            until = at.monotonic + doubled(policy.cooldown_min, policy.cooldown_max, rung)
            disputed = Disputed(replace(held, doubted=True, accepted=False))
            return replace(life, holding=disputed, cooldown=Cooldown(until, rung)), True
        life = replace(life, holding=Spent(held), spent_at=at.monotonic)
    return life, next_start(life, policy, waiting=True) > at.monotonic + policy.token_wait


def _accepted(life: Life, token: AccessToken) -> Life:
    held = holds(life)
    if held is None or held.token is not token:
        return life
    accepted = replace(held, accepted=True)
    match life.holding:
        case Disputed():
            return replace(life, holding=Disputed(accepted))
        case Due():
            life = replace(life, holding=Due(accepted))
        case _:
            life = replace(life, holding=Valid(accepted))
    # A new token in the place of a refused one works: renewing helps again.
    return replace(life, cooldown=None) if held.replaces_refused and not held.doubted else life


def _landed(life: Life, event: Landed, at: Moment, policy: Policy) -> Life:
    usable = math.inf if event.lifetime is None else unusable_after(event.lifetime)
    life = replace(life, refreshable=event.refreshable)
    # The machine may have slept while the answer was on its way: only the wall clock knows.
    if usable <= max(at.monotonic - event.asked_at.monotonic, at.wall - event.asked_at.wall):
        return _failed(life, Failure(Outcome.MALFORMED, "token_expired_on_arrival"), at, policy)
    before = None if isinstance(life.holding, Nothing) else life.holding.lease.token.value
    token = AccessToken(event.value, life.generation + 1, event.fields, event.callback)
    held = lease(
        token,
        event.lifetime,
        policy.ahead,
        at=event.asked_at,
        # That another replica has renewed does not say that renewing again would not help.
        replaces_refused=isinstance(life.holding, Spent) and not event.adopted,
        same=event.value == before,
    )
    return replace(life, holding=Valid(held), errand=Resting(), rejections=(), generation=token.generation)


def _revoked(life: Life, policy: Policy) -> Life:
    """Nothing is held any more; a grant that only a human can bring is lost with it."""
    errand: Errand = Resting() if policy.own_grant else AuthorizationRequired(_GIVEN_BACK)
    return replace(life, holding=Nothing(), errand=errand, cooldown=None, asked=False, refreshable=False, rejections=())


def _failed(life: Life, failure: Failure, at: Moment, policy: Policy) -> Life:
    before = obstacle(life.errand)
    failures = before.failures if isinstance(before, BackingOff | Braked) else 0
    now = at.monotonic
    match failure.remedy:
        case Remedy.ANOTHER_GRANT if not policy.own_grant:
            return replace(life, errand=AuthorizationRequired(failure))
        case Remedy.ANOTHER_GRANT if policy.passwords:
            life = replace(life, rejections=(*life.rejections, now)[-PASSWORD_STRIKES:])
            until = brake_after_password(policy, life.rejections, now)
        case Remedy.OPERATOR:
            until = now + max(policy.brake, failure.retry_after or 0.0)
        case Remedy.WAIT | Remedy.ANOTHER_GRANT as remedy:
            # Every second pause makes up for the one before: spread is kept, but no run of luck makes a burst of them.
            chance = 1 - before.chance if isinstance(before, BackingOff) and failures % 2 == 1 else at.chance
            slow = remedy is Remedy.ANOTHER_GRANT
            rest = pause(
                policy, begun=life.begun, now=now, step=failures, chance=chance, slow=slow,
                retry_after=failure.retry_after,
            )  # fmt: skip
            return replace(life, errand=BackingOff(failure, failures + 1, rest, chance))
        case _:
            assert_never(failure.remedy)
    return replace(life, errand=Braked(failure, failures + 1, until))
