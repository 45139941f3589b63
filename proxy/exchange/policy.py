"""What follows from a verdict: relay, or renew and send once more. Pure and total."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, assert_never

if TYPE_CHECKING:
    from proxy.definitions.models import Replay

# RFC 9110 §9.2.2
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Next(Enum):
    """The way on after a response head."""

    RELAY = "the response is the application's"
    RELAY_AND_RENEW = "an auth error that can't be replayed: relayed, the token renewed for the next request"
    REPLAY = "an auth error: renew, then send the request once more"


def may_replay(replay: Replay, method: bytes, status: int) -> bool:
    """Whether the operator lets this method be sent again after a refusal with this status."""
    return _allows(replay.methods, method) and (not 200 <= status < 300 or _allows(replay.on_success_status, method))


def may_replay_ever(replay: Replay, method: bytes) -> bool:
    """Whether it is of any use to keep the body of such a request."""
    return _allows(replay.methods, method)


def decide(*, rule: str | None, attempt: int, replayable: bool) -> Next:
    """Decide by the rule that matched (or None), the attempt (1 or 2) and whether the request can be sent again."""
    if rule is None or attempt > 1:
        return Next.RELAY
    return Next.REPLAY if replayable else Next.RELAY_AND_RENEW


def _allows(which: Literal["all", "idempotent", "never"], method: bytes) -> bool:
    match which:
        case "all":
            return True
        case "idempotent":
            return method in IDEMPOTENT
        case "never":
            return False
        case _:
            assert_never(which)
