"""Grants in Redis, shared by all replicas of a namespace and encrypted as on disk.

What was saved or loaded here last is remembered: a server that lost it (a failover, an empty one in its place) gets it
back, and what could not be saved while the server was away is saved when it returns. The higher version wins.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import structlog

from proxy.sealing import Keyring
from proxy.tokens.fingerprint import fingerprint
from proxy.tokens.store.record import Record
from proxy.tokens.store.redis_link import Link
from proxy.tokens.store.redis_names import LOAD, SAVE, SAVED, VERSION, Message, mark_of, message_of, name_of, version_of
from proxy.tokens.store.redis_pauses import USUAL
from proxy.tokens.store.redis_records import Records
from proxy.tokens.store.redis_streams import Streams
from proxy.tokens.store.redis_turn import Turns
from proxy.tokens.stored import Stored, StoreUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient
    from proxy.definitions.settings import RedisStore
    from proxy.tokens.store.redis_pauses import Pauses

# After a reconnect everything is heard, this many connections in one go and with this pause in seconds between: a
# thousand loads in one instant would be late, and so taken for a server that is away.
_GO: Final = 25
_PAUSE: Final = 0.02
# Seconds that the end of the process waits for what is not saved yet.
_LAST: Final = 2.0


class GrantServer:
    """The server of the grants; `errors` counts what could not be done, by operation. Needs a running loop.

    `lease`: a turn ends after so many seconds, if nobody prolongs it. `context`: see `Streams`. Raises `SealError` for
    keys that are none; that the server is away is no error here.
    """

    def __init__(
        self,
        settings: RedisStore,
        entropy: Callable[[int], bytes],
        clock: Clock,
        *,
        lease: float,
        context: ssl.SSLContext | None = None,
        pauses: Pauses = USUAL,
    ) -> None:
        self.settings = settings
        self._sender = entropy(8).hex()
        self._channel = name_of(settings.namespace, "messages")
        server_name = settings.tls.server_name if settings.tls is not None else None
        self._link = Link(
            Streams(settings.address, context, server_name),
            self._channel,
            name_of(settings.namespace, "probe"),
            heard=self._message,
            connected=self._hear_all,
            returned=self._settle,
            pause=pauses.probe,
        )
        self.errors = self._link.errors
        self.turns = Turns(
            self._link,
            settings.namespace,
            seconds=lease,
            channel=self._channel,
            sender=self._sender,
            entropy=entropy,
            unsaved=self.unsaved,
            pauses=pauses,
        )
        self._records = Records(settings.namespace, Keyring.of(settings.keys), entropy, clock, self.errors)
        self._heard: Callable[[str], None] = _nobody
        # What is the newest of each connection, as far as it is known here, by the server's clock; and which of it the
        # server may not have.
        self._known: dict[str, Record] = {}
        self._unwritten: set[str] = set()
        self._names: dict[str, None] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._met = False  # it was listened to once
        self._log = structlog.get_logger()

    @property
    def available(self) -> bool:
        """Whether the server does what it is asked."""
        return self._link.available

    @property
    def ready(self) -> bool:
        """Whether the server has answered, if it has to before the proxy is ready."""
        return not self.settings.required or self._link.answered

    def unsaved(self, name: str) -> bool:
        """Tell whether there is something of a connection that the server may not have."""
        return name in self._unwritten

    def known(self, name: str, mark: str) -> Stored | None:
        """Return what was saved or loaded last of a connection with that fingerprint."""
        record = self._known.get(name)
        return self._records.ours(record.stored) if record is not None and record.fingerprint == mark else None

    def store(self, connection: Connection, iclient: IClient) -> ServedGrant:
        """Return the store of one connection's grant."""
        self._names[connection.name] = None
        return ServedGrant(self, connection.name, fingerprint(connection, iclient), self.settings.on_failure)

    async def start(self, heard: Callable[[str], None]) -> None:
        """Begin to listen: `heard` gets the name of a connection for which another replica has saved something."""
        self._heard = heard
        self._link.start()

    async def close(self) -> None:
        """Save what is not saved yet, if the server is there, and end."""
        if self._link.available:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST):
                    await self._restore(tuple(self._unwritten))
        for name in self._unwritten:
            self._log.error("store", connection=name, outcome="not_saved")
        await self._link.close()

    # ------------------------------------------------------------------------------------------------ one connection

    async def load(self, name: str, mark: str) -> Stored:
        """Return what there is of a connection with that fingerprint. Raises `StoreUnavailable`.

        Where the server turns out to have lost something, this takes until all could let it have what they know.
        """
        while True:
            async with self._locks[name]:
                found = await self._found(name, mark)
            if found is not None:
                return found
            await self.turns.settled()

    async def _found(self, name: str, mark: str) -> Stored | None:
        """Return what the server has, None where it had lost what is known here."""
        version, record = await self._read(name, mark)
        known = self._known.get(name)
        if known is not None and known.fingerprint == mark:
            if known.stored.version > version:
                unwritten = name in self._unwritten
                kept = await self._give_again(name, known)
                return self._records.ours(known.stored) if kept and unwritten else None
            self._unwritten.discard(name)
            if record is None:
                # It does not open, or others with other definitions have pushed it out: saving repairs it.
                record = Record(mark, replace(known.stored, version=version))
        if record is None:
            return Stored(version)
        self._known[name] = record
        return self._records.ours(record.stored)

    async def save(self, name: str, record: Record) -> bool:
        """Keep a record, if it is newer than what there is. Raises `StoreUnavailable`: then it is saved later."""
        record = replace(record, stored=self._records.theirs(record.stored))
        async with self._locks[name]:
            before = self._known.get(name)
            self._known[name] = record
            self._unwritten.add(name)
            follows = await self._write(name, record)
            if follows is not None:
                if follows < record.stored.version - 1:
                    self.turns.unsettle()  # it fell back
                return True
            self._unwritten.discard(name)
            if before is not None:
                self._known[name] = before
            else:
                del self._known[name]
            return False

    async def _read(self, name: str, mark: str) -> tuple[int, Record | None]:
        """Return the version, and the record with that fingerprint if there is one that opens."""
        reply = await self._link.ask("load", "EVAL", LOAD, 1, self._key(name), write=False)
        match reply:
            case [bytes(seconds), bytes(microseconds), bytes() | None as written, newest, previous] if (
                seconds + microseconds
            ).isdigit() and len(seconds) < 16:
                self._records.note_time(seconds, microseconds)
            case _:
                raise StoreUnavailable("its reply is not one of Redis")
        version = version_of(written)
        return version, self._records.read(name, mark, version, newest, previous)

    async def _write(self, name: str, record: Record) -> int | None:
        """Return the version that this one follows, None where there is a newer one."""
        data = self._records.sealed(name, record)
        aside = int(name in self._records.unreadable)
        # What only says that a request is about to be made is of no use to others.
        channel = "" if record.stored.intent else self._channel
        message = Message(self._sender, SAVED, name).text()
        follow = int(bool(record.stored.intent))
        arguments = (record.stored.version, mark_of(record.fingerprint), data, aside, channel, message, follow)
        follows: int = await self._link.ask("save", "EVAL", SAVE, 1, self._key(name), *arguments, write=True)
        if not follows:
            return None
        self._unwritten.discard(name)
        self._records.unreadable.discard(name)
        return follows - 1

    async def _give_again(self, name: str, known: Record) -> bool:
        """Write what the server has lost or never had; False: somebody was faster."""
        if name not in self._unwritten:
            self.turns.unsettle()  # it fell back: who knows what else it has lost?
        kept = await self._write(name, known) is not None
        if kept:
            self._log.warning("store", connection=name, outcome="written_back", version=known.stored.version)
        return kept

    def _key(self, name: str) -> str:
        return name_of(self.settings.namespace, name, "grant")

    # --------------------------------------------------------------------------------------------- what comes and goes

    async def _settle(self) -> None:
        """The server was away and is there again: let it have what it does not."""
        self.turns.unsettle()
        await self._restore(tuple(self._known))
        await self.turns.give_back_owed()

    async def _restore(self, names: tuple[str, ...]) -> None:
        """Let the server have the newest that is known here of each of these, as far as it can be asked."""
        for name in names:
            async with self._locks[name]:
                with suppress(StoreUnavailable):
                    version = version_of(await self._link.ask("load", "EVAL", VERSION, 1, self._key(name), write=False))
                    known = self._known[name]
                    if known.stored.version <= version or await self._give_again(name, known):
                        self._unwritten.discard(name)

    def _message(self, data: bytes) -> None:
        message = message_of(data)
        if message is None or message.name not in self._names:
            return
        if message.kind == SAVED and message.sender != self._sender:
            self._heard(message.name)
        self.turns.look(message.name)

    async def _hear_all(self) -> None:
        """Do as if something had been heard of every connection: until now nobody listened, or the server was away."""
        if self._met:
            await self._settle()
        self._met = True
        self.turns.look_all()
        for number, name in enumerate(tuple(self._names), 1):
            self._heard(name)
            if number % _GO == 0:
                await asyncio.sleep(_PAUSE)


class ServedGrant:
    """What is kept of one connection, as long as its fingerprint stays what it is."""

    __slots__ = ("_fingerprint", "_name", "_server", "on_failure", "shared")

    def __init__(self, server: GrantServer, name: str, mark: str, on_failure: Literal["hold", "refresh"]) -> None:
        self._server = server
        self._name = name
        self._fingerprint = mark
        self.shared = True
        self.on_failure: Literal["hold", "refresh"] = on_failure

    @property
    def held(self) -> Stored | None:
        """What is kept, as far as it is known without asking; None: the server has to be asked."""
        return self._server.known(self._name, self._fingerprint)

    async def load(self) -> Stored:
        """Return what is kept. Raises `StoreUnavailable`."""
        return await self._server.load(self._name, self._fingerprint)

    async def save(self, stored: Stored) -> bool:
        """Keep this, if it is newer than what there is. Raises `StoreUnavailable`: then it is kept when that ends."""
        return await self._server.save(self._name, Record(self._fingerprint, stored))

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for the right to renew, and hold it for the block; entering it raises `StoreUnavailable`."""
        return self._server.turns.turn(self._name)


def _nobody(name: str) -> None:
    """Nobody wants to know yet."""
