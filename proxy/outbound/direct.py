"""The straight way out: the destination is judged by its name and by each of its addresses, then dialled by address.

The address that was judged is the one that is dialled: there is no second lookup in between.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.outbound.destinations import Destinations

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Resolver(Protocol):
    """Who turns a name into addresses."""

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return IP literals, at least one; raises `Refusal` (dns_error, dns_timeout)."""
        ...


class Direct:
    """Fills the port `Way`. `destinations` gives those in force; `claimed`: some connection names the host."""

    __slots__ = ("_claimed", "_destinations", "_resolver")

    to = "the upstream"

    def __init__(self, resolver: Resolver, destinations: Callable[[], Destinations], *, claimed: bool) -> None:
        self._resolver = resolver
        self._destinations = destinations
        self._claimed = claimed

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses that may be dialled; those that may not are skipped."""
        destinations, claimed = self._destinations(), self._claimed
        refusal = destinations.named(host, port, claimed=claimed)
        if refusal is not None:
            raise refusal
        allowed = []
        for address in await self._resolver.resolve(host, port):
            found = destinations.check(address, port, claimed=claimed)
            if found is None:
                allowed.append(address)
            refusal = refusal or found
        if refusal is not None and not allowed:
            raise refusal
        return tuple(allowed)

    async def open(
        self, protocol: Callable[[], P], address: str, host: str, port: int
    ) -> tuple[asyncio.BaseTransport, P]:
        """Connect to the address."""
        return await asyncio.get_running_loop().create_connection(protocol, address, port)


def is_local(address: str) -> bool:
    """Whether an IP literal is an address of this machine now: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
