"""Names into addresses, on threads of our own: a name that nobody answers for holds up only those who ask for it.

`loop.getaddrinfo` shares one small pool between all names (and everything else that blocks): a few stalled lookups
would stop every stream of the process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A name with thousands of addresses is a mistake or an attack; the first few are tried in any case.
ADDRESSES: Final = 16
# resolv.conf's habit is 5 s for each server; who waits longer than one of them has a dead server in it.
PATIENCE: Final = 5.0
# One stalled lookup holds one thread until the C library gives up, so this many names may stall at once.
THREADS: Final = 32

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
_Answer = tuple[str, ...]


class ResolveError(Refusal):
    """A name has no addresses (`dns_error`), or none came in time (`dns_timeout`)."""

    @property
    def code(self) -> str:
        """`dns_error` or `dns_timeout`."""
        return self.problem.code


class Resolver:
    """Looks names up, each of them once at a time, at most 32 at once. Belongs to one event loop.

    `lookup` is `socket.getaddrinfo` or something like it; it runs on daemon threads, so that a stalled one does not
    keep the process from ending. `patience` is in seconds.
    """

    def __init__(
        self,
        *,
        patience: float = PATIENCE,
        threads: int = THREADS,
        lookup: Callable[..., Sequence[AddressInfo]] = socket.getaddrinfo,
    ) -> None:
        self._patience = patience
        self._free = threads
        self._lookup = lookup
        self._under_way: dict[tuple[str, int], asyncio.Future[_Answer | None]] = {}
        self._queue: deque[tuple[str, int]] = deque()

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of `host` as IP literals, at least one, at most 16; raise `ResolveError`.

        An IP literal is its own address and needs no lookup.
        """
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        key = (host, port)
        if key not in self._under_way:
            self._under_way[key] = asyncio.get_running_loop().create_future()
            self._queue.append(key)
            self._start()
        try:
            # Shielded: who gives up leaves the lookup to the others, and it ends when the C library ends it.
            async with asyncio.timeout(self._patience):
                addresses = await asyncio.shield(self._under_way[key])
        except TimeoutError as error:
            raise ResolveError(PROBLEMS["dns_timeout"], "the name was not resolved in time") from error
        if not addresses:
            raise ResolveError(PROBLEMS["dns_error"], "the name can't be resolved")
        return addresses

    def _start(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            key = self._queue.popleft()
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(loop, key), name="resolve", daemon=True).start()

    def _run(self, loop: asyncio.AbstractEventLoop, key: tuple[str, int]) -> None:
        """Look one name up; runs on a thread."""
        host, port = key
        try:
            found = self._lookup(host, port, type=socket.SOCK_STREAM)
            addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES]
        except (OSError, UnicodeError):  # UnicodeError: a label that can't be encoded
            addresses = ()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(self._ended, key, addresses)

    def _ended(self, key: tuple[str, int], addresses: _Answer) -> None:
        self._free += 1
        future = self._under_way.pop(key)
        if not future.done():
            future.set_result(addresses)
        self._start()


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None
