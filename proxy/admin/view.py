"""A connection's status in the words of the status page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from proxy.admin.status import NOT_APPLICABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.admin.ports import Event
    from proxy.admin.status import ConnectionStatus


class Concern(IntEnum):
    """How much a connection wants somebody's eye, most urgent first: the groups of the page."""

    SOMEONE = 0
    MENDING = 1
    WORKING = 2
    NO_TOKEN = 3

    @property
    def title(self) -> str:
        """The heading of the group."""
        return ("Needs someone", "In trouble, trying by itself", "Working", "Without a token")[self]

    def counted(self, number: int) -> str:
        """Return how many there are, for the summary."""
        needing = "needs someone" if number == 1 else "need someone"
        return f"{number} {(needing, 'in trouble', 'working', 'without a token')[self]}"


# The word, the tone (a class of the style sheet), the group, and what it means for a request that comes now.
_STATES: Final = {
    "none": ("not yet", "wait", Concern.WORKING, "No token yet. It is fetched when a request needs it."),
    "valid": ("valid", "good", Concern.WORKING, "The token is sent with every request."),
    "due": ("due", "good", Concern.WORKING, "The token is still sent and about to be renewed."),
    "expired": ("expired", "wait", Concern.WORKING, "The next request waits for a new token."),
    "spent": ("spent", "warn", Concern.MENDING, "The API refused the token. Requests wait for a new one."),
    "disputed": ("disputed", "warn", Concern.MENDING, "The API refused a new token, too. It is sent on all the same."),
    "backoff": ("backing off", "warn", Concern.MENDING, "The last token request failed. The next comes by itself."),
    "braked": ("rejected", "bad", Concern.SOMEONE, "The authorization server rejects this client: mend its secret."),
    "authorization_required": ("to authorize", "bad", Concern.SOMEONE, "Someone has to authorize this connection."),
    NOT_APPLICABLE: ("no token", "none", Concern.NO_TOKEN, "Requests are relayed without a token."),
}  # fmt: skip

_NEXT: Final = {
    "renewing": "renewing now",
    "renew": "renews",
    "retry": "tries again",
    "authorize": "by hand",
}


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment, as a machine and as a human reads it; `away` is its distance from now."""

    at: float
    iso: str
    written: str
    away: str


@dataclass(frozen=True, slots=True)
class Row:
    """One connection on the page."""

    status: ConnectionStatus
    word: str
    tone: str
    concern: Concern
    meaning: str
    expires: Instant | None
    expired: bool
    renewed: Instant | None
    next_words: str
    next_at: Instant | None
    has_token: bool

    @property
    def name(self) -> str:
        """The connection's name."""
        return self.status.name


@dataclass(frozen=True, slots=True)
class Happening:
    """An event on the page."""

    connection: str
    when: Instant
    event: Event


def row(status: ConnectionStatus, now: float) -> Row:
    """Return what the page says of a connection; `now` is in seconds since the epoch."""
    word, tone, concern, meaning = _STATES.get(status.state, (status.state, "warn", Concern.MENDING, ""))
    return Row(
        status,
        word=word,
        tone=tone,
        concern=concern,
        meaning=meaning,
        expires=instant(status.expires_at, now),
        expired=status.expires_at is not None and status.expires_at <= now,
        renewed=instant(status.last_renewal_at, now),
        next_words=_NEXT.get(status.next_action or "", ""),
        next_at=instant(status.next_attempt_at, now),
        has_token=status.state != NOT_APPLICABLE,
    )


def groups(statuses: Iterable[ConnectionStatus], now: float) -> list[tuple[Concern, list[Row]]]:
    """Return the rows by concern, most urgent first, without empty groups; within one in the given order."""
    rows = [row(status, now) for status in statuses]
    return [(concern, found) for concern in Concern if (found := [each for each in rows if each.concern is concern])]


def happenings(events: Iterable[tuple[str, Sequence[Event]]], now: float, most: int) -> list[Happening]:
    """Return the newest `most` events of all, newest first; `events`: those of each connection."""
    found = [(event.at, name, event) for name, each in events for event in each]
    found.sort(key=lambda item: item[0], reverse=True)
    return [Happening(name, moment, event) for at, name, event in found[:most] if (moment := instant(at, now))]


def instant(at: float | None, now: float) -> Instant | None:
    """Return a moment in words; None stays None."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC)
    written = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Instant(at, moment.isoformat(timespec="seconds").replace("+00:00", "Z"), written, away(at - now))


def away(seconds: float) -> str:
    """Return a distance in time: `in 3 h 5 min`, `3 h ago`. The script of the page counts on in the same words."""
    length = int(abs(seconds))
    if length < 1:
        return "now"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(index for index, (_, size) in enumerate(units) if length >= size)
    parts: list[str] = []
    # What is to come may matter to the second, but only near the moment; what is past does not.
    for name, size in units[first : first + (2 if seconds > 0 else 1)]:
        count, length = divmod(length, size)
        if count and not (name == "s" and parts and int(parts[0].split()[0]) >= 10):
            parts.append(f"{count} {name}")
    span = " ".join(parts)
    return f"in {span}" if seconds > 0 else f"{span} ago"
