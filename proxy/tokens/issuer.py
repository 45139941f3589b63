"""Makes the token requests of one connection: refreshes where it can, else runs the connection's own grant."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Protocol

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth import request as requests
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import Device, device_authorization, device_token, read_device
from proxy.oauth.failure import Failure
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.oauth.response import Issued
from proxy.secret import Unprinted
from proxy.tokens.correspondence import Correspondent
from proxy.tokens.counters import counters
from proxy.tokens.course import Course
from proxy.tokens.fingerprint import fingerprint
from proxy.tokens.giving_back import Revoker
from proxy.tokens.ledger import Ledger
from proxy.tokens.renewal import Attempt, Renewal, granted, shared
from proxy.tokens.stored import Stored, StoreUnavailable
from proxy.tokens.tries import Tries

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient
    from proxy.oauth.grant import Authorization
    from proxy.oauth.metadata import Metadata
    from proxy.secret import Secret
    from proxy.tokens.correspondence import Sources
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.discovery import Discovery, Endpoint

# Only a human, or the operator, brings these a new grant once theirs is lost.
INTERACTIVE: Final = frozenset({"authorization_code", "device_code"})
BROUGHT: Final = INTERACTIVE | {"refresh_token"}
# A browser that sets out waits no longer for metadata that it can do without.
_PATIENCE: Final = 2.0


class Store(Protocol):
    """Remembers the grant of one connection. `shared`: other processes read and write it, too.

    `on_failure`: what becomes of a grant that may be used only once while the store is away: it waits, or it does not.
    """

    shared: bool
    on_failure: Literal["hold", "refresh"]

    async def load(self) -> Stored:
        """Return what is kept. Raises `StoreUnavailable`."""
        ...

    async def save(self, stored: Stored) -> bool:
        """Keep this if it is newer than what there is; False: somebody was faster, and nothing has changed.

        It can't be lost any more on return. Raises `StoreUnavailable`: then the store keeps it as soon as it can.
        """
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for the right to renew, which one at a time has, and hold it. Raises `StoreUnavailable`."""
        ...


class Issuer:
    """The token requests of one connection. `limit` is in bytes, `pause` the first one between revocations, seconds.

    `before`: the counters of the connection before a reload changed it; they go on. `lock` is shared by those who renew
    the same grant in this process. `outlived`: the store keeps the grant when the connection goes.
    """

    def __init__(
        self,
        connection: Connection,
        iclient: IClient,
        *,
        endpoint: Endpoint,
        discovery: Discovery,
        store: Store,
        clock: Clock,
        sources: Sources,
        limit: int,
        pause: float,
        before: TokenCounters | None = None,
        lock: asyncio.Lock | None = None,
        outlived: bool = False,
    ) -> None:
        self.store = store
        self._outlived = outlived
        self.lock = lock or asyncio.Lock()
        self.counters = counters(connection.name, iclient.grant_type, before)
        self._connection = connection
        self._iclient = iclient
        self._discovery = discovery
        self._server = Correspondent(connection, iclient, endpoint, discovery, clock, sources)
        self._revoker = Revoker(iclient, self._server, discovery, clock, limit=limit, pause=pause)
        self._clock = clock
        self._sources = sources
        self._limit = limit
        self._ledger = Ledger(store, connection.refresh_token, self.lock)
        self._tries = Tries(iclient, self._server, discovery, self.counters, clock, chance=sources.chance, limit=limit)
        self._course = Course(iclient, self._ledger, self._tries, self._server, brought=iclient.grant_type in BROUGHT)

    @cached_property
    def mark(self) -> str:
        """Whose grant it is."""
        return fingerprint(self._connection, self._iclient)

    @property
    def skew(self) -> float:
        """How far the authorization server's clock is ahead of ours, in seconds; 0 within half a minute."""
        return self._server.skew

    @property
    def can_revoke(self) -> bool:
        """A revocation endpoint is known, or the server's metadata have not been asked for one yet."""
        return self._revoker.is_possible

    @property
    def metadata(self) -> Metadata | None:
        """What the authorization server said about itself, as far as it was asked."""
        return self._discovery.known

    @property
    def redirect_url(self) -> str | None:
        """Where the authorization server sends browsers back to; None where that can't be."""
        try:
            return self._sources.redirect_url()
        except RenderError:
            return None

    @property
    def refreshable(self) -> bool:
        """A refresh token is held, as far as is known without asking the store."""
        return self._ledger.granted.refresh_token is not None

    @property
    def leaves_a_grant(self) -> bool:
        """The store has a grant of this connection for whoever asks next: it comes back, or other replicas have it."""
        return self._outlived and (self.refreshable or self._iclient.grant_type in BROUGHT)

    @property
    def revoked_elsewhere(self) -> bool:
        """Another replica has given everything back."""
        return self._ledger.revoked_elsewhere

    # ----------------------------------------------------------------------------------------------------- renewing

    async def renew(self) -> Renewal:
        """Get a new access token. A rotated refresh token is stored before this returns, so before its use."""
        return await self._course.run()

    async def look(self) -> Renewal | None:
        """Return the token that another replica has brought, None where there is none. Raises `StoreUnavailable`."""
        await self._ledger.load()
        return self._course.adopted(self._course.begun())

    async def redeem(self, authorization: Authorization, callback: dict[str, str]) -> Renewal:
        """Redeem an authorization code (RFC 6749 §4.1.3): once, whatever comes of it, since codes are single use."""
        attempt = self._consent(Grant(callback=Unprinted(callback)))
        attempt.authorization = authorization
        override = self._iclient.access_token_request
        await self._tries.make(attempt, "authorization_code", requests.own_grant, override, once=True)
        return await self._agreed(attempt)

    async def authorization_url(self, state: str, challenge: str | None) -> str | Failure:
        """Return where a browser goes to authorize (RFC 6749 §4.1.1)."""
        written = self._iclient.authorization_url is not None
        if written:
            # They may say that the server names itself when the browser comes back (RFC 9207 §3).
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._discovery.metadata()
        with suppress(StoreUnavailable):
            await self._ledger.load()
        return await self._server.made(
            lambda material: authorization_url(material, state=state, challenge=challenge),
            self._ledger.granted,
            discover=not written,
        )

    async def device(self) -> Device | Failure:
        """Ask for a user code (RFC 8628 §3.1); once more where an assertion was refused because a clock is wrong."""
        outcome = await self._device()
        if isinstance(outcome, Failure) and self._server.signs and self._server.learn_skew(outcome):
            return await self._device()
        return outcome

    async def _device(self) -> Device | Failure:
        discover = self._iclient.device_authorization_url is None
        made = await self._server.made(device_authorization, NO_GRANT, discover=discover)
        if isinstance(made, Failure):
            return made
        answer = await self._server.answer(made)
        if isinstance(answer, Failure):
            return answer
        return read_device(answer, limit=self._limit, now=self._clock.wall())

    async def poll(self, device_code: Secret) -> Renewal:
        """Ask whether the human has agreed (RFC 8628 §3.4)."""
        attempt = self._consent(NO_GRANT)
        override = self._iclient.access_token_request
        await self._tries.make(
            attempt, "device_code", lambda material: device_token(material, device_code), override, once=True
        )
        return await self._agreed(attempt)

    def _consent(self, held: Grant) -> Attempt:
        return Attempt(self._clock.monotonic(), held, self._ledger.given_back, consent=True)

    async def _agreed(self, attempt: Attempt) -> Renewal:
        """Store what a human has brought, then report."""
        ledger, result = self._ledger, attempt.result
        if isinstance(result, Issued):
            attempt.held = granted(attempt.held, result)
            if not ledger.stale(attempt):
                after = replace(attempt.held, access_token=None)
                worth = after.refresh_token is not None or bool(after.callback)
                token = shared(result, attempt.asked_at or self._tries.now) if ledger.shared else None
                # Whatever there was is another grant's, maybe another account's.
                ledger.replaced += 1
                ledger.last = attempt.held
                await ledger.decide(Stored(grant=after if worth else NO_GRANT, token=token))
        return self._course.told(attempt)

    # ----------------------------------------------------------------------------------------------------- revoking

    def retire(self) -> None:
        """Let all that is under way be stale when it ends, unless it leaves a grant."""
        if not self.leaves_a_grant:
            self._ledger.abandon()

    def drop(self) -> None:
        """Use nothing any more of what another replica has given back."""
        self._ledger.forget()

    async def forget(self) -> Grant:
        """Forget the grant, and return what it was. What a request brings that is under way now is stale."""
        ledger = self._ledger
        ledger.abandon()
        with suppress(StoreUnavailable):
            await ledger.load()
        held, last = ledger.granted, ledger.last
        ledger.last = NO_GRANT
        await ledger.decide(Stored(grant=NO_GRANT, revoked=True))
        return replace(held, fields=held.fields or last.fields)

    async def give_back(self, grant: Grant) -> tuple[str, ...]:
        """Revoke the tokens of a grant, refresh token first (RFC 7009); return for each what became of it."""
        return await self._revoker.give_back(grant)
