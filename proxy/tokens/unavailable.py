"""Why there is no token to send, in the words of an own answer. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import TokenUnavailable
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.problem import PROBLEMS
from proxy.tokens.lifecycle import next_start
from proxy.tokens.states import AuthorizationRequired, Braked, Flying, last_failure, obstacle

if TYPE_CHECKING:
    from proxy.problem import Problem
    from proxy.tokens.pace import Policy
    from proxy.tokens.states import Life

# Nobody has authorized the connection yet; what is said then is the same as when its grant was lost.
UNAUTHORIZED: Final = Failure(Outcome.INVALID_GRANT, "authorization_required", Remedy.ANOTHER_GRANT)

# Failures that have an own answer of the same name, since what helps is another than "wait".
_NAMED: Final = frozenset(
    {"token_expired_on_arrival", "token_endpoint_redirect", "url_outside_valid_domains", "store_unavailable"}
)

# Nothing was asked of the authorization server: only a human can bring what is missing.
NO_REQUEST: Final = frozenset({"authorization_required", "revoked"})
_MISSING: Final = {
    "authorization_required": "Nobody has authorized this connection; see the status page, or iclient-proxy authorize.",
    "store_unavailable": "The store of the grants does not answer, and no refresh token is used without it.",
    "revoked": "The grant was revoked; see the status page, or iclient-proxy authorize.",
}


@dataclass(frozen=True, slots=True)
class Unavailable:
    """One reason, shared by all who wait; each of them raises an exception of its own."""

    problem: Problem
    detail: str
    retry_after: float | None

    def refusal(self) -> TokenUnavailable:
        """Return a new exception that says so."""
        return TokenUnavailable(self.problem, self.detail, retry_after=self.retry_after)


def why(life: Life, now: float, policy: Policy) -> Unavailable:
    """Return why no token came; `now` is monotonic."""
    failure = last_failure(life)
    hindrance = obstacle(life.errand)
    if isinstance(hindrance, AuthorizationRequired):
        code = "authorization_required"
    elif failure is not None and failure.code in _NAMED:
        code = failure.code
    elif isinstance(hindrance, Braked):
        code = "client_rejected"
    else:
        code = "token_unavailable"
    if failure is None:
        detail = "The authorization server has not answered yet."
    else:
        detail = _MISSING.get(failure.code) or f"The last token request ended with: {failure.code}."
    start = next_start(life, policy, waiting=True)
    # While a renewal is under way nobody knows; a second is short enough to be worth a try.
    wait = 1.0 if isinstance(life.errand, Flying) else start - now
    return Unavailable(PROBLEMS[code], detail, None if math.isinf(wait) else max(wait, 0.0))


def closing() -> Unavailable:
    """Return the reason of those who still wait when the connection is closed."""
    return Unavailable(PROBLEMS["token_unavailable"], "The proxy is shutting down.", None)
