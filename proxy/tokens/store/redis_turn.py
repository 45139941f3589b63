"""The right to renew a connection's token, one process at a time: a key in Redis that ends by itself.

Whoever made it holds its nonce, prolongs it while he works and takes it away when he is done. If he stands still for
longer than it lives, another one gets the turn, and what he saves then is refused by its version.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from proxy.tokens.store.redis_names import FREE, GIVE_BACK, PROLONG, Message, name_of
from proxy.tokens.stored import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.tokens.store.redis_link import Link
    from proxy.tokens.store.redis_pauses import Pauses

_NONCE_BYTES: Final = 16
_PROLONGED: Final = 3  # so many times within its life


class Turns:
    """The turns of all connections in one namespace; one that nobody prolongs ends after `seconds`.

    `channel` is where `sender` says that a turn is free. A turn is kept while `unsaved` says that something of its
    connection is not: who came next would not find what was got in it, and use the same refresh token.
    """

    def __init__(
        self,
        link: Link,
        namespace: str,
        *,
        seconds: float,
        channel: str,
        sender: str,
        entropy: Callable[[int], bytes],
        unsaved: Callable[[str], bool],
        pauses: Pauses,
    ) -> None:
        self._link = link
        self._namespace = namespace
        self.seconds = seconds
        self._channel = channel
        self._sender = sender
        self._entropy = entropy
        self._unsaved = unsaved
        self._pauses = pauses
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._settled_at = -math.inf
        self._owed: dict[str, tuple[str, str]] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for the turn of a connection, and hold it for the block. Raises `StoreUnavailable`."""
        key, nonce = name_of(self._namespace, name, "turn"), self._entropy(_NONCE_BYTES).hex()
        try:
            await self._take(name, key, nonce)
            prolonging = asyncio.create_task(self._prolong(key, nonce), name=f"turn of {name}")
            try:
                yield
            finally:
                prolonging.cancel()
        finally:
            await self._give_back(name, key, nonce)  # also when it is not known whether it was got

    def unsettle(self) -> None:
        """Give no turn to anybody here for a while: the server may have lost something."""
        self._settled_at = asyncio.get_running_loop().time() + self._pauses.settling

    async def settled(self) -> None:
        """Wait until turns are given again."""
        while (rest := self._settled_at - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 it may be put off
            await asyncio.sleep(rest)

    async def give_back_owed(self) -> None:
        """Give back what could not be given back when it was over."""
        for key, (name, nonce) in tuple(self._owed.items()):
            del self._owed[key]
            await self._give_back(name, key, nonce)

    def look(self, name: str) -> None:
        """Let those who wait for that turn look at once."""
        for waiting in self._waiting.get(name, ()):
            if not waiting.done():
                waiting.set_result(None)

    def look_all(self) -> None:
        """Let all who wait look at once."""
        for name in self._waiting:
            self.look(name)

    async def _take(self, name: str, key: str, nonce: str) -> None:
        waiters = self._waiting.setdefault(name, set())
        while True:
            await self.settled()
            # Before it is asked: a message may come while the answer is on its way.
            woken = asyncio.get_running_loop().create_future()
            waiters.add(woken)
            try:
                milliseconds = round(self.seconds * 1000)
                if await self._link.ask("turn", "SET", key, nonce, "NX", "PX", milliseconds, write=True) is not None:
                    return
                await asyncio.wait((woken,), timeout=self._pauses.look)
            finally:
                waiters.discard(woken)

    async def _give_back(self, name: str, key: str, nonce: str) -> None:
        if self._unsaved(name):
            self._owed[key] = (name, nonce)
            return
        message = Message(self._sender, FREE, name).text()
        try:
            await self._link.ask("turn", "EVAL", GIVE_BACK, 1, key, nonce, self._channel, message, write=False)
        except StoreUnavailable:
            self._owed[key] = (name, nonce)  # if the server does not come back before, it ends by itself

    async def _prolong(self, key: str, nonce: str) -> None:
        mine = True
        while mine:
            await asyncio.sleep(self.seconds / _PROLONGED)
            with suppress(StoreUnavailable):
                milliseconds = round(self.seconds * 1000)
                mine = bool(await self._link.ask("turn", "EVAL", PROLONG, 1, key, nonce, milliseconds, write=False))
