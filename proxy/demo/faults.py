"""The faults that `iclient-proxy demo --faults` serves; pure: what each makes of a token request and of a token.

A fault is two decisions. They know only what servers know: how many token requests came before, and which token in the
order of their first use bears a request. So a fault begins by itself, whoever is tested, however many tokens it gets
ahead of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# What is called before the fault begins: enough to see that all is well.
GOOD_FOR: Final = 3
# As many streams as an application with a pool of ordinary size has under way.
TOGETHER: Final = 64
# Longer than a renewal takes, shorter than a client waits.
SLOW_SECONDS: Final = 3.0
# Time enough for a client to leave within it, after it saw the request arrive.
ROTATION_SECONDS: Final = 1.0
# Between two events: a first byte that waits for the second event is told from one that does not.
PAUSE_SECONDS: Final = 2.0


class Issue(StrEnum):
    """What the token endpoint makes of a request that is in order."""

    ISSUED = "issued"
    WITHOUT_LIFETIME = "issued_without_expires_in"
    EMPTY = "empty"
    SERVER_ERROR = "server_error"
    INVALID_CLIENT = "invalid_client"


class Verdict(StrEnum):
    """What the API makes of a request whose token was issued and lives."""

    ACCEPTED = "accepted"
    REVOKED = "revoked"
    # As `REVOKED`, and no answer leaves before `TOGETHER` of them have arrived.
    REVOKED_TOGETHER = "revoked_together"
    ERROR_IN_BODY = "error_in_body"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Turn:
    """The outcome of a token request, and how many seconds it takes to leave."""

    issue: Issue
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Use:
    """A request for data: its token's number in the order of first use, earlier requests with it, its method."""

    token: int
    before: int
    method: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `does` says what the servers do, `good` what an application should see through a good proxy.

    `turn` takes the number of a token request, from 1.
    """

    name: str
    does: str
    good: str
    turn: Callable[[int], Turn]
    verdict: Callable[[Use], Verdict]
    rotates: bool = False

    @property
    def grant(self) -> str:
        """The grant type that its token endpoint knows."""
        return "refresh_token" if self.rotates else "client_credentials"


def _issues(_: int) -> Turn:
    return Turn(Issue.ISSUED)


def _accepts(_: Use) -> Verdict:
    return Verdict.ACCEPTED


def _first_is_empty(number: int) -> Turn:
    return Turn(Issue.EMPTY if number == 1 else Issue.ISSUED)


def _first_is_slow(number: int) -> Turn:
    return Turn(Issue.ISSUED, SLOW_SECONDS if number == 1 else 0.0)


def _all_but_the_first_are_slow(number: int) -> Turn:
    return Turn(Issue.ISSUED, ROTATION_SECONDS if number > 1 else 0.0)


def _revokes(use: Use) -> Verdict:
    return Verdict.REVOKED if use.token == 1 and use.before >= GOOD_FOR else Verdict.ACCEPTED


def _revokes_in_body(use: Use) -> Verdict:
    return Verdict.ERROR_IN_BODY if use.token == 1 and use.before >= GOOD_FOR else Verdict.ACCEPTED


def _revokes_together(use: Use) -> Verdict:
    return Verdict.REVOKED_TOGETHER if use.token == 1 and use.before >= 1 else Verdict.ACCEPTED


def _revokes_at_a_post(use: Use) -> Verdict:
    return Verdict.REVOKED if use.token == 1 and use.method == "POST" else Verdict.ACCEPTED


def _revokes_at_second_use(use: Use) -> Verdict:
    return Verdict.REVOKED if use.token == 1 and use.before >= 1 else Verdict.ACCEPTED


FAULTS: Final = (
    Fault(
        "no-fault",
        "Nothing goes wrong: every token request gets a token, every token is good until it expires.",
        "200 each time, and one token request per lifetime.",
        _issues,
        _accepts,
    ),
    Fault(
        "revoked-token",
        f"The API takes the first token for {GOOD_FOR} requests, then answers 401 to it; newer tokens are good.",
        "No request is lost: one token request more, and the refused request is sent once again.",
        _issues,
        _revokes,
    ),
    Fault(
        "concurrent-refusals",
        f"After one good request, {TOGETHER} with the first token are held until all are there (or 5 s), then all "
        "get 401.",
        f"{TOGETHER} times 200, from one token request more.",
        _issues,
        _revokes_together,
    ),
    Fault(
        "empty-200",
        "The first token request is answered 200 with an empty body; the next ones get tokens.",
        "It waits for the token that the second request gets.",
        _first_is_empty,
        _accepts,
    ),
    Fault(
        "no-expires-in",
        "Token answers have no expires_in, and the tokens never expire.",
        "200 each time, from one token request.",
        lambda _: Turn(Issue.WITHOUT_LIFETIME),
        _accepts,
    ),
    Fault(
        "endpoint-500",
        "The token endpoint answers 500 to everything.",
        "An answer that says what is wrong, and token requests that get rarer.",
        lambda _: Turn(Issue.SERVER_ERROR),
        _accepts,
    ),
    Fault(
        "endpoint-400",
        "The token endpoint answers 400 invalid_client to everything.",
        "An answer that says what is wrong, and hardly a second token request: accounts get locked by them.",
        lambda _: Turn(Issue.INVALID_CLIENT),
        _accepts,
    ),
    Fault(
        "slow-at-start",
        f"The answer to the first token request takes {SLOW_SECONDS:g} s.",
        "The first request waits for the token.",
        _first_is_slow,
        _accepts,
    ),
    Fault(
        "refused-post",
        "The first token is revoked when a POST arrives; its body is read to the end and answered 401. Every answer "
        "200 has the SHA-256 of the body that came.",
        "200 to the POST, with the digest of what was sent.",
        _issues,
        _revokes_at_a_post,
    ),
    Fault(
        "error-200",
        'As revoked-token, but the refusal is 200 with {"ok": false, "error": "invalid_auth"}.',
        '"ok": true each time, from one token request more.',
        _issues,
        _revokes_in_body,
    ),
    Fault(
        "sse",
        f"Every good request is answered with two server-sent events, {PAUSE_SECONDS:g} s apart.",
        "The first event at once, the second when it comes.",
        _issues,
        lambda _: Verdict.EVENTS,
    ),
    Fault(
        "abort-rotation",
        "Refresh tokens work once and each answer has the next; the old one is burnt as the request arrives, and to "
        "present it again loses the grant. The first access token is good for one request, renewals take "
        f"{ROTATION_SECONDS:g} s: leave while one is under way.",
        "The grant is alive afterwards, and the next request gets 200.",
        _all_but_the_first_are_slow,
        _revokes_at_second_use,
        rotates=True,
    ),
)
NAMES: Final = tuple(fault.name for fault in FAULTS)
