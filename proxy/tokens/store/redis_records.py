"""What lies in Redis as the program knows it: sealed and opened, with its times by the server's clock.

Replicas whose clocks differ would take each other's tokens for older or younger than they are. So the moment at which a
token was asked for is kept by the one clock that they share.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.sealing import SealError
from proxy.tokens.store.record import Record, opened, sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.sealing import Keyring
    from proxy.tokens.stored import Stored


# Clocks that differ by no more, in seconds, are taken for the same: a reply takes that long, too.
_SAME: Final = 0.5


class Records:
    """The records of one namespace. `errors["open"]` counts those that do not open; `unreadable` has their names."""

    def __init__(
        self, namespace: str, keys: Keyring, entropy: Callable[[int], bytes], clock: Clock, errors: dict[str, int]
    ) -> None:
        self.unreadable: set[str] = set()
        self._namespace = namespace
        self._keys = keys
        self._entropy = entropy
        self._clock = clock
        self._errors = errors
        self._ahead = 0.0
        self._log = structlog.get_logger()

    def note_time(self, seconds: bytes, microseconds: bytes) -> None:
        """Take what the server's clock shows now (`TIME`)."""
        ahead = int(seconds) + int(microseconds) / 1e6 - self._clock.wall()
        self._ahead = ahead if abs(ahead) > _SAME else 0.0

    def sealed(self, name: str, record: Record) -> bytes:
        """Return a record as it is kept."""
        return sealed(record, ("redis", self._namespace, name), self._keys, self._entropy)

    def read(self, name: str, mark: str, version: int, newest: bytes | None, previous: bytes | None) -> Record | None:
        """Return the record with that fingerprint, None where there is none that opens; `version` is what is told."""
        if newest is None:
            return None
        record = self._opened(name, newest)
        if record is None or record.stored.version != version:
            if record is not None:
                self._unread(name, "its version was changed")
            return None
        self.unreadable.discard(name)
        if record.fingerprint != mark and previous is not None:
            # What was put aside is wanted again once a change of the definitions is taken back.
            record = self._opened(name, previous) or record
        return Record(mark, replace(record.stored, version=version)) if record.fingerprint == mark else None

    def ours(self, stored: Stored) -> Stored:
        """Return what was kept, with its times by our clock."""
        return self._moved(stored, -self._ahead)

    def theirs(self, stored: Stored) -> Stored:
        """Return what is to be kept, with its times by the server's clock."""
        return self._moved(stored, self._ahead)

    @staticmethod
    def _moved(stored: Stored, seconds: float) -> Stored:
        token = stored.token
        return stored if token is None else replace(stored, token=replace(token, asked_at=token.asked_at + seconds))

    def _opened(self, name: str, data: bytes) -> Record | None:
        try:
            return opened(data, ("redis", self._namespace, name), self._keys)
        except SealError as error:
            self._unread(name, str(error))
            return None

    def _unread(self, name: str, reason: str) -> None:
        self._errors["open"] += 1
        if name not in self.unreadable:
            self.unreadable.add(name)
            self._log.warning("store", connection=name, outcome="undecryptable", reason=reason)
