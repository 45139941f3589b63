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
    from collections.abc import Callable

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
    "authorization_required": "There is no grant for this connection yet, or none any more.",
    "store_unavailable": "The store of the grants does not answer, and no refresh token is used without it.",
    "revoked": "The grant was revoked.",
}
# What helps where the authorization server was asked, or could not be.
_ADVICE: Final = {
    Outcome.TRANSPORT: "Can this machine reach the token endpoint? It is tried again by itself.",
    Outcome.TIMEOUT: "Can this machine reach the token endpoint? It is tried again by itself.",
    Outcome.MALFORMED: "Compare the request that `iclient-proxy explain` shows with what the provider documents.",
    Outcome.RATE_LIMITED: "It is tried again by itself, later.",
    Outcome.INVALID_CLIENT: "Compare client_id, client_secret and client_auth with the registration.",
    Outcome.INVALID_GRANT: "The authorization server does not take what it was sent as a grant.",
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


def advice(connection: str, page: str | None, *, by_human: bool) -> str:
    """Return what to do where only somebody outside can bring a grant; `page` is the URL of the status page, if any."""
    if not by_human:
        return (
            "Give the connection a new refresh_token, then `iclient-proxy reload`; restart the proxy where it is in "
            "an environment variable."
        )
    on_page = f", or authorize it on the status page, {page}/" if page is not None else ""
    return f"Run `iclient-proxy authorize {connection}`{on_page}."


def why(life: Life, now: float, policy: Policy, remedy: Callable[[], str] = str) -> Unavailable:
    """Return why no token came; `now` is monotonic. `remedy()` says what brings a grant from outside."""
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
        helps = remedy() if code == "authorization_required" else _ADVICE.get(failure.outcome, "")
        if helps and failure.code not in _NAMED:
            detail += f" {helps}"
    start = next_start(life, policy, waiting=True)
    # While a renewal is under way nobody knows; a second is short enough to be worth a try.
    wait = 1.0 if isinstance(life.errand, Flying) else start - now
    return Unavailable(PROBLEMS[code], detail, None if math.isinf(wait) else max(wait, 0.0))


def closing() -> Unavailable:
    """Return the reason of those who still wait when the connection is closed."""
    return Unavailable(PROBLEMS["token_unavailable"], "The proxy is shutting down.", None)
