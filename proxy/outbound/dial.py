"""Dialling: the name is resolved, the address is connected to, TLS is agreed; each failure gets its own answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from proxy.errors import Refusal
from proxy.outbound.tls import TlsEngine
from proxy.outbound.upstream import Upstream
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    import ssl

    from proxy.outbound.pool import Pool

_ADDRESSES_TRIED = 2  # the first and one alternate: more would outlast the caller's patience


class Resolver(Protocol):
    """Who turns a name into addresses."""

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return IP literals, at least one; raises `Refusal` (dns_error, dns_timeout)."""
        ...


class Dialler:
    """Opens streams to one origin. `context` is None for plain http; `server_name` is verified and sent as SNI."""

    __slots__ = ("_context", "_host", "_port", "_resolver", "_server_name")

    def __init__(
        self, resolver: Resolver, host: str, port: int, context: ssl.SSLContext | None, server_name: str
    ) -> None:
        self._resolver = resolver
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
        resolved = False
        try:
            async with asyncio.timeout(pool.timeouts.connect):
                addresses = await self._resolver.resolve(self._host, self._port)
                resolved = True
                return await self._connect(pool, addresses[:_ADDRESSES_TRIED])
        except TimeoutError as error:
            if not resolved:
                raise Refusal(PROBLEMS["dns_timeout"], "the upstream's name was not resolved in time") from error
            raise Refusal(
                PROBLEMS["upstream_connect_timeout"], "no stream to the upstream within timeouts.connect"
            ) from error

    async def _connect(self, pool: Pool, addresses: tuple[str, ...]) -> Upstream:
        last: OSError | None = None
        for left in range(len(addresses), 0, -1):
            try:
                # An address that swallows everything must leave its alternate a share of the time.
                async with asyncio.timeout(pool.timeouts.connect / len(addresses) if left > 1 else None):
                    return await self._connect_to(pool, addresses[-left])
            except OSError as error:  # a TimeoutError is one, too
                last = error
        raise Refusal(PROBLEMS["upstream_refused"], "the upstream does not accept streams") from last

    async def _connect_to(self, pool: Pool, address: str) -> Upstream:
        loop = asyncio.get_running_loop()
        handshake: asyncio.Future[None] = loop.create_future()
        engine: TlsEngine | None = None
        if self._context is not None:
            session, pool.session = pool.session, None  # a TLS 1.3 ticket is for one use (RFC 8446 §C.4)
            engine = TlsEngine(self._context, self._server_name, session)
        transport, stream = await loop.create_connection(lambda: Upstream(pool, engine, handshake), address, self._port)
        try:
            await handshake
        except BaseException:
            transport.abort()
            raise
        return stream
