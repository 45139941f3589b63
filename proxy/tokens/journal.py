"""What is said about a connection's token: one log line for each renewal, and the last events for the status page."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy.oauth.failure import Failure, Outcome
from proxy.tokens.states import AuthorizationRequired, Disputed, Flying, Spent

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oauth.response import Issued
    from proxy.tokens.renewal import Renewal
    from proxy.tokens.states import Errand, Holding

KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: `at` is wall time, `kind` a word, `text` a sentence of ours."""

    at: float
    kind: str
    text: str


class Journal:
    """Writes the lines of one connection and remembers its last events. `wall` tells the time of an event.

    `hint` is a warning for when an upstream refuses a token, said once; "" for none. `remedy()` says what to do when
    only a human or the operator brings another grant.
    """

    def __init__(
        self, connection: str, wall: Callable[[], float], hint: str = "", remedy: Callable[[], str] = str
    ) -> None:
        self._connection = connection
        self._hint = hint
        self.remedy = remedy
        self._needs_grant = False
        self._wall = wall
        self._log = structlog.get_logger()
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._odd: set[str] = set()
        self._scope: str | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """The last events, the newest first."""
        return tuple(reversed(self._events))

    def note(self, kind: str, text: str) -> None:
        """Remember that something happened."""
        self._events.append(Event(self._wall(), kind, text))

    def renewed(self, renewal: Renewal, issued: Issued, asked: str) -> None:
        """Say that a token came. A new oddity, or a scope that is not the one `asked` for, is a warning once."""
        new = set(issued.anomalies) - self._odd
        self._odd |= new
        fields = self._fields(renewal)
        if issued.anomalies:
            fields["anomalies"] = list(issued.anomalies)
        if issued.scope is not None and asked and issued.scope != self._scope:
            self._scope = issued.scope
            if set(issued.scope.replace(",", " ").split()) != set(asked.replace(",", " ").split()):
                new.add("scope")
                fields["scope_granted"], fields["scope_asked"] = issued.scope[:200], asked[:200]
        tell = self._log.warning if new else self._log.info
        tell("renewal", **fields, outcome=Outcome.OK.value, expires_in=issued.lifetime)
        self.note("renewed", f"a new token by {renewal.grant}")

    def adopted(self, renewal: Renewal, issued: Issued) -> None:
        """Say that a token came which another replica had asked for."""
        fields: dict[str, object] = {"connection": self._connection, "requests": renewal.requests}
        if issued.lifetime is not None:
            fields["expires_in"] = round(issued.lifetime - max(self._wall() - renewal.asked_at.wall, 0.0), 1)
        self._log.info("renewal", **fields, outcome="adopted")
        self.note("adopted", "a new token that another replica brought")

    def failed(self, renewal: Renewal, failure: Failure, wait: float | None) -> None:
        """Say that no token came, what kind of answer there was, and when the next attempt is due (seconds)."""
        fields = self._fields(renewal)
        described = {
            "said": failure.said,
            "status": failure.status,
            "content_type": failure.content_type,
            "length": failure.length,
            "sha256": failure.digest,
            "next_attempt_in": wait,
        }
        fields |= {key: value for key, value in described.items() if value not in (None, "")}
        self._log.warning("renewal", **fields, outcome=failure.outcome.value, code=failure.code)
        self.note("failed", f"no token by {renewal.grant}: {failure.code}")

    def refused(self, holding: Holding) -> None:
        """Say that an upstream refused the token, if that changed anything."""
        if isinstance(holding, Spent):
            self.note("refused", "an upstream refused the token; it is not sent again")
        elif isinstance(holding, Disputed):
            self.note("disputed", "an upstream refused a new token, too; renewing again would not help now")
        else:
            return
        if self._hint:
            self._log.warning("token_refused", connection=self._connection, hint=self._hint)
            self._hint = ""

    def stands(self, errand: Errand) -> None:
        """Say what to do, once each time that the connection has come to need a grant from outside."""
        if isinstance(errand, Flying):
            return  # nobody knows yet
        needed, self._needs_grant = self._needs_grant, isinstance(errand, AuthorizationRequired)
        if self._needs_grant and not needed:
            self._log.warning("authorization_required", connection=self._connection, remedy=self.remedy())

    def broken(self, error: Exception) -> None:
        """Say that a renewal ended by a mistake of ours."""
        self._log.error("renewal", connection=self._connection, outcome="internal", error=type(error).__name__)
        self.note("failed", "no token: internal_error")

    def revoked(self, codes: tuple[str, ...]) -> None:
        """Say what became of the tokens that were given back."""
        self._log.info("revocation", connection=self._connection, tokens=", ".join(codes))
        self.note("revoked", ", ".join(codes) or "there was nothing to give back")

    def dropped(self, codes: tuple[str, ...]) -> None:
        """Say what became of tokens that came too late to be used."""
        self._log.info("revocation", connection=self._connection, tokens=", ".join(codes), late=True)
        self.note("dropped", f"a token came too late: {', '.join(codes)}")

    def _fields(self, renewal: Renewal) -> dict[str, object]:
        fields: dict[str, object] = {
            "connection": self._connection,
            "grant": renewal.grant,
            "requests": renewal.requests,
            "ms": round(renewal.seconds * 1000, 1),
        }
        if renewal.skew:
            # What an assertion says about its times is the usual reason for `invalid_grant` (RFC 7523 §3).
            fields["clock_skew"] = round(renewal.skew, 1)
        if renewal.lost:
            fields["refresh_token_lost"] = renewal.lost
        return fields
