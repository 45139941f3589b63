"""What one connection is granted, as far as this process and its store know: of the two, what is newer.

What the store could not take is kept here and saved when it can be, and so is what it has lost. The higher version
wins, except over what a human has decided: an authorization and a revocation count whatever went on meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import ProxyError
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.patience import Patience
from proxy.tokens.renewal import serves
from proxy.tokens.stored import SharedToken, Stored, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from proxy.secret import Secret
    from proxy.tokens.issuer import Store
    from proxy.tokens.lease import Moment
    from proxy.tokens.renewal import Attempt

# So often a save is tried again because another process was faster each time.
SAVES: Final = 3
# Seconds. A shared store bounds its own operations, but those of a thousand connections stand in line: a server that is
# only far away is not taken for one that is away. This is for a store that does not keep its word.
_OPERATION: Final = 10.0
# A turn comes when its holder is done, which takes two token requests at most, or when it has died.
_TURN: Final = 60.0

T = TypeVar("T")


class NoTurnError(ProxyError):
    """Another process holds the turn for longer than it may."""


class Ledger:
    """The grant of one connection. `seed` is what the operator wrote, good until something else was stored.

    `kept` is the newest that is known, `last` the grant with its last access token and all that came with it, also
    what is not worth storing. `used` is the version that `last` is of. Renewals belong to a generation: `replaced`
    counts what makes a renewal stale, `given_back` what makes an authorization stale, too. `lock`: of two keepers of
    one connection in a process, one at a time renews.
    """

    def __init__(self, store: Store, seed: Secret | None, lock: asyncio.Lock) -> None:
        self.store = store
        self.lock = lock
        self.kept = Stored()
        self.last = NO_GRANT
        self.used = 0
        self.replaced = 0
        self.given_back = 0
        self._seed = seed
        self._insists = False

    @property
    def shared(self) -> bool:
        """Whether other processes write the store, too."""
        return self.store.shared

    @property
    def holds(self) -> bool:
        """Whether a refresh token is not used while the store is away."""
        return self.store.on_failure == "hold"

    @property
    def granted(self) -> Grant:
        """What is kept, else what the operator brought; with the last access token."""
        grant = self.kept.grant if self.kept.grant is not None else Grant(refresh_token=self._seed)
        token = self.last.access_token
        if token is None and self.kept.token is not None:
            token = self.kept.token.value
        return replace(grant, access_token=token)

    @property
    def revoked_elsewhere(self) -> bool:
        """Another process has given everything back."""
        return self.kept.revoked and self.kept.version > self.used

    def stale(self, attempt: Attempt) -> bool:
        """Tell whether what an attempt brings is not to be used any more."""
        return attempt.epoch != (self.given_back if attempt.consent else self.replaced)

    def abandon(self) -> None:
        """Let all that is under way be stale when it ends."""
        self.replaced += 1
        self.given_back += 1

    def use(self, granted: Grant, version: int) -> None:
        """Take note of what this process goes on with."""
        self.last, self.used = granted, version

    def forget(self) -> None:
        """Use nothing of what is kept any more; what is under way is stale."""
        self.abandon()
        self.use(NO_GRANT, self.kept.version)

    def news(self, since: int, known: Secret | None, at: Moment) -> SharedToken | None:
        """Return the access token that replicas share, if it is newer than that version and still serves."""
        token = self.kept.token
        if not self.shared or token is None or self.kept.version <= since or token.value == known:
            return None
        return token if serves(token, at) else None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the right to renew; entering raises `StoreUnavailable`, and `NoTurnError` where it does not come."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_TURN):
                    await held.enter_async_context(self.store.turn())
            except TimeoutError as error:
                raise NoTurnError from error
            yield

    async def load(self) -> Stored:
        """Return the newest there is. What the store does not have (any more) is saved. Raises `StoreUnavailable`."""
        for _ in range(SAVES):
            found = await self._bounded(self.store.load())
            mine = self.kept
            if found.version >= mine.version and not self._insists:
                self.kept = found
                return found
            again = mine if found.version < mine.version else replace(mine, version=found.version + 1)
            if await self._bounded(self.store.save(again)) and self.kept is mine:
                self.kept, self._insists = again, False
                return again
        raise StoreUnavailable("other processes save all the time")

    async def save(self, stored: Stored, after: int) -> bool:
        """Save as the version behind `after`; False: somebody was faster. Raises `StoreUnavailable`, and keeps it."""
        stored = replace(stored, version=after + 1)
        try:
            saved = await self._bounded(self.store.save(stored))
        except StoreUnavailable:
            if stored.version > self.kept.version:
                self.kept = stored
            raise
        if saved and stored.version > self.kept.version:
            self.kept, self._insists = stored, False
        return saved

    async def decide(self, stored: Stored) -> None:
        """Keep what a human has decided, whatever others save; while the store is away, until it is back."""
        self.kept = replace(stored, version=self.kept.version + 1)
        self._insists = True
        self.used = self.kept.version
        with suppress(StoreUnavailable):
            self.used = (await self.load()).version

    async def _bounded(self, work: Awaitable[T]) -> T:
        if not self.shared:
            return await work  # a slow disk is waited for: what is not on it may be lost
        try:
            async with Patience(_OPERATION):
                return await work
        except TimeoutError as error:
            raise StoreUnavailable("it does not answer") from error
