"""Streams to one Redis server: a command and its reply within a deadline, or `StoreUnavailable`, whatever happened.

Of redis-py this takes the streams alone. Its pool and its retries would wait where we have to say at once that the
store is away; a stream that saw an error is closed, so that the next one may find another server behind the name.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError

from proxy.tokens.stored import StoreUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from proxy.definitions.settings import RedisAddress

DEADLINE: Final = 0.5  # seconds for one command, the stream it goes on included
# After a process stood still the loop looks at timers first, and the answer lies in the socket: it is read before it is
# called late. Two turns bring it up, the others are for what the reading takes.
_TURNS_OF_THE_LOOP: Final = 10
# So many commands go at once; what a thousand connections want in one moment stands in line.
_STREAMS: Final = 8


class _Secured(SSLConnection):
    """A stream by TLS whose settings are made elsewhere, with the name that the certificate is checked against."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self._secured = {"ssl": context, "server_hostname": server_name or self.host}

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, **self._secured}


class Streams:
    """The streams to one server, opened when they are wanted.

    `context` is None where they are plain; `server_name`: whose certificate is expected, None: that of the host.
    """

    def __init__(self, address: RedisAddress, context: ssl.SSLContext | None, server_name: str | None) -> None:
        self._make = _maker(address, context, server_name)
        self._idle: list[AbstractConnection] = []
        self._room = asyncio.Semaphore(_STREAMS)
        self._closed = False

    async def ask(
        self, *command: str | bytes | int, admit: Callable[[], None] | None = None, seconds: float = DEADLINE
    ) -> Any:  # noqa: ANN401 what a reply is depends on the command
        """Return the reply. `admit` is called when it is this command's turn, and may refuse it.

        Raises `StoreUnavailable` when none came within `seconds`, or an error did.
        """
        async with self._room:
            if admit is not None:
                admit()
            return await self._exchange(command, seconds)

    async def _exchange(self, command: tuple[str | bytes | int, ...], seconds: float) -> Any:  # noqa: ANN401
        work = asyncio.create_task(self._conversation(command), name="command to the store")
        try:
            await asyncio.wait((work,), timeout=seconds)
            for _ in range(_TURNS_OF_THE_LOOP):
                if work.done():
                    return work.result()
                await asyncio.sleep(0)
            raise StoreUnavailable(f"no answer within {seconds:g} s")
        finally:
            work.add_done_callback(_forgotten)  # also where whoever asked was cancelled in the moment that it ended
            if not work.done():
                work.cancel()
                await asyncio.wait((work,), timeout=DEADLINE)

    async def _conversation(self, command: tuple[str | bytes | int, ...]) -> Any:  # noqa: ANN401
        stream = await self._taken() or self._make()
        done = False
        try:
            await stream.connect()  # type: ignore[no-untyped-call]
            await stream.send_command(*command, check_health=False)
            reply = await stream.read_response()
            done = True
            return reply
        except (RedisError, OSError, ValueError, EOFError, RecursionError) as error:
            raise StoreUnavailable(_words(error)) from error
        finally:
            await self._put_away(stream, whole=done)

    async def _taken(self) -> AbstractConnection | None:
        """Return an idle stream that the server has not closed meanwhile."""
        while self._idle:
            stream = self._idle.pop()
            with suppress(RedisError, OSError):
                if stream.is_connected and not await stream.can_read():
                    return stream
            await _close(stream)
        return None

    async def _put_away(self, stream: AbstractConnection, *, whole: bool) -> None:
        if whole and not self._closed:
            self._idle.append(stream)
        else:
            await _close(stream)

    async def subscription(self, channel: str, seconds: float) -> Subscription:
        """Open a stream of its own that hears what is published. Raises `StoreUnavailable`."""
        subscription = Subscription(self._make())
        await subscription.open(channel, seconds)
        return subscription

    async def close(self) -> None:
        """Close the streams that are idle; those in use are closed by their commands."""
        self._closed = True
        while self._idle:
            await _close(self._idle.pop(), patient=True)


class Subscription:
    """One stream on which messages come. Close it."""

    def __init__(self, stream: AbstractConnection) -> None:
        self._stream = stream

    async def open(self, channel: str, seconds: float) -> None:
        """Begin to listen; raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stream.connect()  # type: ignore[no-untyped-call]
                await self._stream.send_command("SUBSCRIBE", channel, check_health=False)
                await self._stream.read_response()
        except BaseException as error:
            await _close(self._stream)
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"no answer within {seconds:g} s") from None
            if isinstance(error, RedisError | OSError | ValueError | EOFError):
                raise StoreUnavailable(_words(error)) from error
            raise

    async def hear(self, seconds: float) -> bytes | None:
        """Return the next message; None where only a sign of life came, or nothing within `seconds`."""
        return await self._read(seconds, whatever=True)

    async def ping(self, seconds: float) -> bytes | None:
        """Ask for a sign of life; return a message that may come before it. Raises `StoreUnavailable` without one."""
        try:
            await self._stream.send_command("PING", check_health=False)
        except (RedisError, OSError, ValueError) as error:
            raise StoreUnavailable(_words(error)) from error
        return await self._read(seconds, whatever=False)

    async def _read(self, seconds: float, *, whatever: bool) -> bytes | None:
        try:
            reply = await self._stream.read_response(timeout=seconds)
        except (RedisError, OSError, ValueError, EOFError) as error:
            raise StoreUnavailable(_words(error)) from error
        if reply is None and not whatever:
            raise StoreUnavailable(f"no sign of life within {seconds:g} s")
        match reply:
            case [b"message", bytes(), bytes() as data]:
                return data
            case _:
                return None

    async def close(self) -> None:
        """Hear nothing any more."""
        await _close(self._stream, patient=True)


def _maker(
    address: RedisAddress, context: ssl.SSLContext | None, server_name: str | None
) -> Callable[[], AbstractConnection]:
    settings: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password.reveal() if address.password is not None else None,
        # RESP 2, and nothing said of ourselves: a user of the server needs no rights but those the store needs.
        "protocol": 2,
        "driver_info": None,
    }
    if address.path:
        return lambda: UnixDomainSocketConnection(path=address.path, **settings)
    settings |= {"host": address.host, "port": address.port}
    if context is None:
        return lambda: Connection(**settings)
    return lambda: _Secured(context, server_name, **settings)


async def _close(stream: AbstractConnection, *, patient: bool = False) -> None:
    """Close it; `patient`: until it is closed, which by TLS takes a word of the peer, or for half a second."""
    with suppress(RedisError, OSError):  # TimeoutError is one
        async with asyncio.timeout(DEADLINE):
            await stream.disconnect(nowait=not patient)


def _forgotten(work: asyncio.Task[Any]) -> None:
    """Take what became of a command that was given up: redis-py turns some cancellations into errors of its own."""
    if not work.cancelled():
        work.exception()


def _words(error: Exception) -> str:
    """Return what failed, in words that quote nobody: a reply may name keys, an address is the operator's secret."""
    if isinstance(error, ResponseError):
        return f"the server refused it: {type(error).__name__}"
    cause = error.__cause__ or error.__context__
    if isinstance(error, RedisError) and isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
