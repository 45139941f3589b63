"""Dialling: the name is resolved, the address is connected to, TLS is agreed; each failure gets its own answer."""

from __future__ import annotations

import asyncio
import errno
import math
from typing import TYPE_CHECKING, Protocol, TypeVar

from proxy.errors import Refusal
from proxy.outbound.tls import TlsEngine
from proxy.outbound.upstream import Upstream
from proxy.patience import Patience
from proxy.problem import PROBLEMS
from proxy.wire.reader import as_protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from proxy.outbound.pool import Pool

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)
_ADDRESSES_TRIED = 2  # the first and one alternate: more would outlast the caller's patience


class Way(Protocol):
    """How streams leave this machine. `to` is where they go first, for what a refusal says."""

    to: str

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the IP literals to connect to, at least one; raises `Refusal`."""
        ...

    async def open(
        self, protocol: Callable[[], P], address: str, host: str, port: int
    ) -> tuple[asyncio.BaseTransport, P]:
        """Return a stream to `host`, by one of its addresses; raises `OSError` or `Refusal`."""
        ...


async def reach(way: Way, host: str, port: int, seconds: float, attempt: Callable[[str], Awaitable[T]]) -> T:
    """Return what `attempt` makes of the first address that works, within `seconds`; raises `Refusal`."""
    resolved = False
    try:
        async with Patience(seconds):
            addresses = await way.addresses(host, port)
            resolved = True
            return await _first(way, addresses[:_ADDRESSES_TRIED], seconds, attempt)
    except TimeoutError as error:
        if not resolved:
            raise Refusal(PROBLEMS["dns_timeout"], f"the name of {way.to} was not resolved in time") from error
        raise Refusal(PROBLEMS["upstream_connect_timeout"], f"no stream to {way.to} within timeouts.connect") from error


async def _first(way: Way, addresses: tuple[str, ...], seconds: float, attempt: Callable[[str], Awaitable[T]]) -> T:
    last: OSError | None = None
    for left in range(len(addresses), 0, -1):
        try:
            # An address that swallows everything must leave its alternate a share of the time.
            async with Patience(seconds / len(addresses) if left > 1 else math.inf):
                return await attempt(addresses[-left])
        except OSError as error:  # a TimeoutError is one, too
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Refusal(PROBLEMS["overloaded"], "no file is left for a stream", retry_after=1) from error
            last = error
    raise Refusal(PROBLEMS["upstream_refused"], f"{way.to} does not accept streams") from last


class Dialler:
    """Opens streams to one origin. `context` is None for plain http; `server_name` is verified and sent as SNI."""

    __slots__ = ("_context", "_host", "_port", "_server_name", "_way")

    def __init__(self, way: Way, host: str, port: int, context: ssl.SSLContext | None, server_name: str) -> None:
        self._way = way
        self._host = host
        self._port = port
        self._context = context
        self._server_name = server_name

    @property
    def is_tls(self) -> bool:
        """Whether streams are encrypted."""
        return self._context is not None

    async def dial(self, pool: Pool) -> Upstream:
        """Return a stream that is ready for a request, within the pool's `timeouts.connect`. Raises `Refusal`."""
        return await reach(
            self._way, self._host, self._port, pool.timeouts.connect, lambda address: self._connect_to(pool, address)
        )

    async def _connect_to(self, pool: Pool, address: str) -> Upstream:
        handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        engine: TlsEngine | None = None
        if self._context is not None:
            session, pool.session = pool.session, None  # a TLS 1.3 ticket is for one use (RFC 8446 §C.4)
            engine = TlsEngine(self._context, self._server_name, session)
        stream = Upstream(pool, engine, handshake)
        await self._way.open(lambda: as_protocol(stream), address, self._host, self._port)
        try:
            await handshake
        except BaseException:
            stream.close()
            raise
        return stream
