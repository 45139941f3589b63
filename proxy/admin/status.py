"""What the admin listener shows of each connection, and what a scrape of the metrics gives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOT_APPLICABLE = "not_applicable"
AUTHORIZATION_REQUIRED = "authorization_required"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One connection now; times are seconds since the epoch.

    `state` is one of the closed set of states, `not_applicable` without an iClient. `last_error`, `next_action` and
    `warnings` are our own words, never a server's. `redirect_url` is what an interactive grant has to register;
    `authorize_url` is the path on this listener where it begins.
    """

    name: str
    iclient: str | None = None
    grant_type: str | None = None
    state: str = NOT_APPLICABLE
    expires_at: float | None = None
    last_renewal_at: float | None = None
    last_error: str | None = None
    next_action: str | None = None
    next_attempt_at: float | None = None
    required: bool = False
    prefetch: bool = False
    redirect_url: str | None = None
    authorize_url: str | None = None
    can_revoke: bool = False
    can_authorize: bool = False
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, str | None]:
        """Return the row of `/api/connections`; times as RFC 3339 in UTC."""
        return {
            "name": self.name,
            "iclient": self.iclient,
            "grant_type": self.grant_type,
            "state": self.state,
            "expires_at": _time(self.expires_at),
            "last_renewal_at": _time(self.last_renewal_at),
            "last_error": self.last_error,
            "next_action": self.next_action,
            "next_attempt_at": _time(self.next_attempt_at),
            "redirect_url": self.redirect_url,
            "authorize_url": self.authorize_url,
        }


def named(connections: Iterable[ConnectionStatus], name: str) -> ConnectionStatus | None:
    """Return the connection of that name; None when there is none."""
    return next((status for status in connections if status.name == name), None)


class Exposition(Protocol):
    """One scrape's answer."""

    @property
    def content_type(self) -> str:
        """Its media type."""
        ...

    @property
    def pieces(self) -> Iterator[bytes]:
        """Its text, in pieces that are rendered when they are asked for."""
        ...


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
