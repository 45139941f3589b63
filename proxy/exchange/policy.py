"""What follows from a verdict: relay, or renew and send once more. Pure and total.

`docs/auth-errors.md` shows `decide` as a table; the table is `decision_table()`.
"""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, assert_never

if TYPE_CHECKING:
    from proxy.definitions.models import Replay

# RFC 9110 §9.2.2
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Next(Enum):
    """The way on after a response."""

    RELAY = "the response is relayed"
    RELAY_REFUSED = "the response is relayed: it is the upstream's own word on the new token, too"
    RELAY_IN_COOLDOWN = "the response is relayed; renewing did not help lately, so nothing is renewed"
    RELAY_AND_RENEW = (
        'the response is relayed with `details="auth-retry-not-replayable"`; the next request has a new token'
    )
    REPLAY = "the token is renewed, the request sent once more"

    @property
    def outcome(self) -> str | None:
        """Label of `replays_total`; None where nothing is counted now (a replay has its outcome later)."""
        return _OUTCOMES[self]


_OUTCOMES: Final[dict[Next, str | None]] = {
    Next.RELAY: None,
    Next.RELAY_REFUSED: "refused",
    Next.RELAY_IN_COOLDOWN: "cooldown",
    Next.RELAY_AND_RENEW: "not_replayable",
    Next.REPLAY: None,
}


def may_replay(replay: Replay, method: bytes, status: int) -> bool:
    """Whether the operator lets this method be sent again after a refusal with this status."""
    return _allows(replay.methods, method) and (not 200 <= status < 300 or _allows(replay.on_success_status, method))


def may_replay_ever(replay: Replay, method: bytes) -> bool:
    """Whether it is of any use to keep the body of such a request."""
    return _allows(replay.methods, method)


def decide(*, is_auth_error: bool, attempt: int, renews: bool, replayable: bool) -> Next:
    """Decide by the verdict, the attempt (1 or 2), whether a newer token is to be had, and whether the request is.

    `replayable`: its whole body is at hand, nothing has been relayed, and `replay` allows it.
    """
    if not is_auth_error:
        return Next.RELAY
    if attempt > 1:
        return Next.RELAY_REFUSED
    if not renews:
        return Next.RELAY_IN_COOLDOWN
    return Next.REPLAY if replayable else Next.RELAY_AND_RENEW


def decision_table() -> str:
    """Return `decide` as a table in Markdown: every combination, those that come to the same in one row."""
    combinations = {
        inputs: decide(is_auth_error=inputs[0], attempt=1 if inputs[1] else 2, renews=inputs[2], replayable=inputs[3])
        for inputs in product((False, True), repeat=4)
    }
    rows = []
    for way in Next:
        inputs = [each for each, next_ in combinations.items() if next_ is way]
        cells = [_cell(words, {each[place] for each in inputs}) for place, words in enumerate(_WORDS)]
        rows.append("| " + " | ".join([*cells, way.value, f"`{way.outcome}`" if way.outcome else ""]) + " |")
    return "\n".join([_HEADINGS, "|---|---|---|---|---|---|", *rows])


_HEADINGS: Final = (
    "| auth error? | attempt | newer token to be had? | request can be sent again? | then | `replays_total` |"
)
_WORDS: Final = (("no", "yes"), ("second", "first"), ("no", "yes"), ("no", "yes"))


def _cell(words: tuple[str, str], values: set[bool]) -> str:
    return "any" if len(values) == 2 else words[values.pop()]


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
