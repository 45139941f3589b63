"""Grants in a folder, one encrypted file for each connection, so that they outlive the process.

One file each: a save touches no grant but its own. A save is whole or did not happen: a new file is written and
synced, renamed over the old one, and the folder synced. A grant with another fingerprint is kept aside for one
generation, as `NAME.previous`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

import structlog

from proxy.errors import MachineError
from proxy.sealing import Keyring, SealError
from proxy.tokens.fingerprint import fingerprint
from proxy.tokens.store.record import Record, opened, sealed
from proxy.tokens.stored import Stored, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proxy.definitions.models import Connection, IClient
    from proxy.definitions.settings import FileStore

_LOCK: Final = "lock"
_CURRENT, _PREVIOUS, _NEW = ".grant", ".previous", ".new"
_OPERATIONS: Final = ("load", "open", "save")


@dataclass(slots=True)
class _Kept:
    """What is known of one connection: its records, the newest first, and what its file holds.

    `on_disk` is the fingerprint in the file, "" where there is none or nobody can read it. `unwritten`: the newest
    record is not on the disk yet.
    """

    records: list[Record]
    on_disk: str
    unwritten: bool = False
    lock: Lock = field(default_factory=Lock)


class _Hold:
    """A lock file that this process holds; raises `BlockingIOError` where another one does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._file = self._taken()

    def keep(self) -> None:
        """Take the lock anew where its folder was removed and made again: the old one keeps nobody out any more."""
        with self._lock:
            with suppress(FileNotFoundError):
                if os.path.samestat(self._path.lstat(), os.fstat(self._file)):
                    return
            before, self._file = self._file, self._taken()
            os.close(before)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)

    def _taken(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file


class GrantFolder:
    """The folder of the grants; `errors` counts what could not be done, by operation (`load`, `open`, `save`).

    Opening it takes its lock, which the process holds until it ends or calls `close`, and clears away what a crash has
    left. Raises `MachineError` (`store_in_use`, `store_unusable`) and, for keys that are none, `SealError`.
    """

    def __init__(self, settings: FileStore, entropy: Callable[[int], bytes]) -> None:
        self.errors = dict.fromkeys(_OPERATIONS, 0)
        self._path = settings.path
        self._keys = Keyring.of(settings.keys)
        self._entropy = entropy
        self._kept: dict[str, _Kept] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._log = structlog.get_logger()
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = _Hold(self._path / _LOCK)
        except BlockingIOError as error:
            raise MachineError(
                "store_in_use", f"the store {self._path} is in use by another proxy; give each one a path of its own"
            ) from error
        except OSError as error:
            raise MachineError("store_unusable", f"the store {self._path} can't be used: {error.strerror}") from error
        try:
            for left in self._path.glob(f"*{_NEW}"):
                left.unlink()
        except OSError as error:
            self.close()
            raise MachineError("store_unusable", f"the store {self._path} can't be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    def store(self, connection: Connection, iclient: IClient) -> StoredGrant:
        """Return the store of one connection's grant; reads its file, if that was not read before."""
        if connection.name not in self._kept:
            self._kept[connection.name] = self._read(connection.name)
        return StoredGrant(self, connection.name, fingerprint(connection, iclient))

    def unsaved(self, name: str) -> bool:
        """Tell whether the newest record of a connection is not on the disk."""
        kept = self._kept.get(name)
        return kept is not None and kept.unwritten

    def turn(self, name: str) -> asyncio.Lock:
        """Return what one at a time holds who renews that connection: it may be removed, and come back meanwhile."""
        return self._turns[name]

    def find(self, name: str, mark: str) -> Stored:
        """Return what there is with that fingerprint; the version is that of the newest record, whosesoever it is."""
        records = self._kept[name].records
        version = records[0].stored.version if records else 0
        found = next((each.stored for each in records if each.fingerprint == mark), Stored())
        return replace(found, version=version)

    async def put(self, name: str, record: Record) -> bool:
        """Let this be the newest record, if it is newer than what there is; it is on the disk on return.

        Raises `StoreUnavailable` where the disk refuses: it is the newest all the same, and written when it can be.
        """
        kept = self._kept[name]
        if record.stored.version <= (kept.records[0].stored.version if kept.records else 0):
            return False
        others = [each for each in kept.records if each.fingerprint != record.fingerprint]
        kept.records = [record, *others[:1]]
        kept.unwritten = True
        await asyncio.to_thread(self._write, name)  # always: a write under way may have taken this record already
        if kept.unwritten:
            raise StoreUnavailable("the disk takes no record now")
        return True

    async def flush(self, name: str) -> None:
        """Write what could not be written before."""
        if self._kept[name].unwritten:
            await asyncio.to_thread(self._write, name)

    def _read(self, name: str) -> _Kept:
        records = []
        on_disk = ""
        for suffix in (_CURRENT, _PREVIOUS):
            path = self._path / f"{name}{suffix}"
            try:
                record = opened(path.read_bytes(), ("file", name), self._keys)
            except FileNotFoundError:
                continue
            except (OSError, SealError) as error:
                unread = isinstance(error, OSError)
                self.errors["load" if unread else "open"] += 1
                self._log.warning(
                    "store",
                    connection=name,
                    outcome="unreadable" if unread else "undecryptable",
                    file=str(path),
                    reason=str(error.strerror if isinstance(error, OSError) else error),
                )
                mark = ""
            else:
                records.append(record)
                mark = record.fingerprint
            if suffix == _CURRENT:
                on_disk = mark
        return _Kept(records, on_disk)

    def _write(self, name: str) -> None:
        """Write the newest record; who comes later writes the same or a newer one."""
        kept = self._kept[name]
        with kept.lock:
            if not kept.unwritten:
                return
            kept.unwritten = False
            record = kept.records[0]
            try:
                self._replace(name, record, aside=kept.on_disk != record.fingerprint)
            except OSError as error:
                kept.unwritten = True
                self.errors["save"] += 1
                self._log.error(
                    "store", connection=name, outcome="not_saved", folder=str(self._path), reason=error.strerror
                )
                with suppress(OSError):
                    (self._path / f"{name}{_NEW}").unlink(missing_ok=True)
            else:
                kept.on_disk = record.fingerprint

    def _replace(self, name: str, record: Record, *, aside: bool) -> None:
        current, new = self._path / f"{name}{_CURRENT}", self._path / f"{name}{_NEW}"
        self._held.keep()
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "wb") as written:
            written.write(sealed(record, ("file", name), self._keys, self._entropy))
            written.flush()
            os.fsync(file)
        if aside:
            with suppress(FileNotFoundError):
                current.replace(self._path / f"{name}{_PREVIOUS}")
        new.replace(current)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class StoredGrant:
    """What is kept of one connection, as long as its fingerprint stays what it is."""

    __slots__ = ("_fingerprint", "_folder", "_name", "on_failure", "shared")

    def __init__(self, folder: GrantFolder, name: str, mark: str) -> None:
        self._folder = folder
        self._name = name
        self._fingerprint = mark
        self.shared = False
        self.on_failure: Literal["hold", "refresh"] = "refresh"

    @property
    def held(self) -> Stored:
        """What is kept, without another attempt to write it."""
        return self._folder.find(self._name, self._fingerprint)

    async def load(self) -> Stored:
        """Return what is kept; what could not be written before is tried again."""
        await self._folder.flush(self._name)
        return self.held

    async def save(self, stored: Stored) -> bool:
        """Keep this, if it is newer than what there is. Raises `StoreUnavailable`: then memory keeps it."""
        return await self._folder.put(self._name, Record(self._fingerprint, stored))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the right to renew, which one at a time has in the one process that has the folder."""
        async with self._folder.turn(self._name):
            yield
