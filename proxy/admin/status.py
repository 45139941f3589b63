"""What the admin listener shows of each connection, and what it may do: the port that the runtime fills."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One connection now; times are seconds since the epoch.

    `state` is one of the closed set of states, `not_applicable` without an iClient. `last_error` and `next_action` are
    our own words, never a server's.
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
            "redirect_url": None,
            "authorize_url": None,
        }


class Operations(Protocol):
    """What the admin listener asks of the running proxy."""

    def connections(self) -> Sequence[ConnectionStatus]:
        """Return every connection's status, in the order of the definitions."""
        ...

    async def renew(self, name: str) -> None:
        """Renew the token of that connection now; raises `TokenUnavailable` when none comes."""
        ...

    def quit(self) -> None:
        """Begin to drain, as SIGTERM does."""
        ...


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
