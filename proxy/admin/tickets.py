"""Texts that only we can have written: they show that a POST comes from a page of ours, a visit from a link of ours."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.clock import Clock

_DIGITS_MAX: Final = 12  # seconds since the epoch have ten; nothing longer is read as a number


class Tickets:
    """Issues and checks them; `key` is 32 random bytes of this process, so that a restart ends them all."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, purpose: str, seconds: float) -> str:
        """Return a ticket for `purpose` that is good for `seconds`."""
        return self._sealed(purpose, str(int(self._clock.wall() + seconds)))

    def good(self, purpose: str, ticket: str) -> bool:
        """Tell whether we issued it, for this purpose, and its time is not up. Takes constant time."""
        until = ticket.partition(".")[0]
        if not (until.isascii() and until.isdigit() and len(until) <= _DIGITS_MAX):
            return False
        genuine = hmac.compare_digest(self._sealed(purpose, until).encode(), ticket.encode("utf-8", "replace"))
        return genuine and self._clock.wall() < int(until)

    def _sealed(self, purpose: str, until: str) -> str:
        seal = hmac.new(self._key, f"{purpose}\n{until}".encode(), hashlib.sha256).hexdigest()
        return f"{until}.{seal}"
