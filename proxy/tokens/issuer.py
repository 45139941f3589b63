"""Makes the token requests of one connection: refreshes where it can, else runs the connection's own grant."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth import request as requests
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import Device, device_authorization, device_token, read_device
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.oauth.response import Issued, read
from proxy.tokens.correspondence import Correspondent
from proxy.tokens.counters import counters
from proxy.tokens.giving_back import Revoker
from proxy.tokens.lease import Moment
from proxy.tokens.renewal import STORE_UNAVAILABLE, Attempt, Renewal, asked, digest, serves, shared
from proxy.tokens.stored import Stored, StoreUnavailable
from proxy.tokens.unavailable import UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient, RequestOverride
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.grant import Authorization
    from proxy.oauth.material import Material
    from proxy.oauth.metadata import Metadata
    from proxy.secret import Secret
    from proxy.tokens.correspondence import Sources
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.discovery import Discovery, Endpoint
    from proxy.tokens.stored import SharedToken

# Only a human, or the operator, brings these a new grant once theirs is lost.
INTERACTIVE: Final = frozenset({"authorization_code", "device_code"})
BROUGHT: Final = INTERACTIVE | {"refresh_token"}
# These say that refreshing will not work again, however long one waits; the connection's own grant still may.
_INVALID: Final = frozenset({"invalid_grant"})
_REFRESH_IS_OVER: Final = _INVALID | {"unauthorized_client", "unsupported_grant_type"}
# So often a renewal is begun anew, or a record saved, because another replica was faster each time.
_COURSES: Final = 3
_OUTRUN: Final = Failure(Outcome.OTHER_ERROR, "renewed_elsewhere")
# Statuses of a place where no endpoint is (any more), so that what the metadata say may be out of date.
_NOT_HERE: Final = frozenset({301, 302, 303, 307, 308, 404, 405, 410})
# A browser that sets out waits no longer for metadata that it can do without.
_PATIENCE: Final = 2.0

Made = TypeVar("Made")


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

    `before`: the counters of the connection before a reload changed it; they go on.
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
    ) -> None:
        self.counters = counters(connection.name, iclient.grant_type, before)
        self._iclient = iclient
        self._discovery = discovery
        self._server = Correspondent(connection, iclient, endpoint, discovery, clock, sources)
        self._revoker = Revoker(iclient, self._server, discovery, clock, limit=limit, pause=pause)
        self._store = store
        self._clock = clock
        self._sources = sources
        self._limit = limit
        self._seed = connection.refresh_token
        # The last grant with all that came with it, also what is not worth storing; and what the store knew of it.
        self._last = NO_GRANT
        self._kept = Stored()
        self._version = 0
        # The refresh token (its digest) whose last use got an answer, whatever that was.
        self._answered = ""
        # A renewal is stale once a human has brought another grant; both are once the grant was given back.
        self._replaced = 0
        self._given_back = 0

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

    # ----------------------------------------------------------------------------------------------------- renewing

    async def renew(self) -> Renewal:
        """Get a new access token. A rotated refresh token is stored before this returns, so before its use."""
        began = self._clock.monotonic()
        if self._iclient.grant_type == "self_signed_jwt":
            attempt = Attempt(began, self._last, epoch=self._replaced)
            attempt.result = await self._server.made(requests.self_signed, attempt.held, discover=False)
            return self._told(attempt)
        for _ in range(_COURSES):
            renewal: Renewal | None = None
            try:
                renewal = await self._shared(began) or await self._in_turn(began)
            except StoreUnavailable:
                return await self._alone(began)
            if renewal is not None:
                return renewal
        return self._told(Attempt(began, self._last, epoch=self._replaced, result=_OUTRUN))

    async def look(self) -> Renewal | None:
        """Return the token that another replica has brought meanwhile, None where there is none."""
        with suppress(StoreUnavailable):
            return await self._shared(self._clock.monotonic())
        return None

    async def _shared(self, began: float) -> Renewal | None:
        if not self._store.shared:
            return None
        return self._adopted(await self._load(), Attempt(began, self._last, epoch=self._replaced))

    async def _in_turn(self, began: float) -> Renewal | None:
        """Renew while nobody else does; None: somebody did, so that it has to be begun anew."""
        renewal: Renewal | None = None
        done = False
        try:
            async with self._store.turn():
                attempt = self._attempt(await self._load(), began)
                renewal = self._adopted(self._kept, attempt) or await self._course(attempt)
                done = True
        except StoreUnavailable:
            if not done:
                raise
        return renewal

    async def _alone(self, began: float) -> Renewal:
        """Renew although the store is away, if the definitions let it: what comes of it is stored when it is back."""
        attempt = self._attempt(self._kept, began)
        rotates = attempt.held.refresh_token is not None or self._iclient.grant_type in BROUGHT
        if rotates and self._store.on_failure == "hold":
            attempt.result = STORE_UNAVAILABLE
            return self._told(attempt)
        renewal = await self._course(attempt)
        return renewal if renewal is not None else self._told(replace(attempt, result=STORE_UNAVAILABLE))

    def _attempt(self, kept: Stored, began: float) -> Attempt:
        held = self._granted(kept)
        mark = digest(held.refresh_token)
        doubtful = bool(mark) and kept.intent == mark != self._answered
        return Attempt(began, held, kept.version, self._replaced, intended=kept.intent == mark != "", doubtful=doubtful)

    async def _course(self, attempt: Attempt) -> Renewal | None:
        """Refresh, or run the connection's own grant; None: somebody was faster."""
        grant_type = self._iclient.grant_type
        if attempt.held.refresh_token is not None:
            if not await self._refreshed(attempt):
                return None
        elif grant_type in BROUGHT:
            attempt.result = UNAUTHORIZED
        if grant_type not in BROUGHT and (attempt.result is None or attempt.lost):
            discover = self._discovers(self._iclient.access_token_request)
            await self._try(attempt, grant_type, requests.own_grant, discover=discover)
        return await self._ended(attempt)

    async def _refreshed(self, attempt: Attempt) -> bool:
        """Use the refresh token; False: another replica has, and the store holds its successor.

        Where the answer is lost, nobody knows whether the server has replaced the token. It is sent once more at once,
        while a server that forgives that still does; whatever that brings is believed.
        """
        mark = digest(attempt.held.refresh_token)
        if not attempt.intended:
            grant = replace(attempt.held, access_token=None)
            if not await self._keep(attempt, replace(self._kept, grant=grant, intent=mark)):
                return False
            attempt.intended = True
        discover = self._discovers(self._iclient.refresh_token_request)
        for again in (not attempt.doubtful, False):
            await self._try(attempt, requests.REFRESH, requests.refresh, discover=discover)
            result = attempt.result
            if not (isinstance(result, Failure) and result.unanswered):
                self._answered = mark
                break
            # After a time-out no server forgives any more, and the next attempt comes soon enough.
            if not again or result.outcome is Outcome.TIMEOUT or self._stale(attempt):
                break
            if await self._moved(attempt):
                return False
        if self._over(attempt) and not self._stale(attempt):
            return not await self._moved(attempt) and await self._lose(attempt)
        return True

    async def _moved(self, attempt: Attempt) -> bool:
        """Tell whether the store has another refresh token now, or a newer access token."""
        if not self._store.shared:
            return False
        try:
            kept = await self._load()
        except StoreUnavailable:
            return False
        return kept.version > attempt.version and (
            digest(self._granted(kept).refresh_token) != digest(attempt.held.refresh_token)
            or self._news(kept) is not None
        )

    async def redeem(self, authorization: Authorization, callback: dict[str, str]) -> Renewal:
        """Redeem an authorization code (RFC 6749 §4.1.3): once, whatever comes of it, since codes are single use."""
        attempt = self._consent(Grant(callback=callback))
        attempt.authorization = authorization
        discover = self._discovers(self._iclient.access_token_request)
        await self._try(attempt, "authorization_code", requests.own_grant, discover=discover, once=True)
        return await self._ended(attempt)

    async def authorization_url(self, state: str, challenge: str | None) -> str | Failure:
        """Return where a browser goes to authorize (RFC 6749 §4.1.1)."""
        written = self._iclient.authorization_url is not None
        if written:
            # They may say that the server names itself when the browser comes back (RFC 9207 §3).
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._discovery.metadata()
        with suppress(StoreUnavailable):
            await self._load()
        return await self._server.made(
            lambda material: authorization_url(material, state=state, challenge=challenge),
            self._granted(self._kept),
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
        discover = self._discovers(self._iclient.access_token_request)
        await self._try(
            attempt,
            "device_code",
            lambda material: device_token(material, device_code),
            discover=discover,
            once=True,
        )
        return await self._ended(attempt)

    # ----------------------------------------------------------------------------------------------------- revoking

    def abandon(self) -> None:
        """Let all that is under way be stale when it ends."""
        self._replaced += 1
        self._given_back += 1

    async def forget(self) -> Grant:
        """Forget the grant, and return what it was. What a request brings that is under way now is stale."""
        self.abandon()
        with suppress(StoreUnavailable):
            await self._load()
        last, self._last = self._last, NO_GRANT
        held = self._granted(self._kept)
        self._seed = None
        await self._override(Stored(grant=NO_GRANT))
        return replace(held, access_token=last.access_token or held.access_token, fields=held.fields or last.fields)

    async def give_back(self, grant: Grant) -> tuple[str, ...]:
        """Revoke the tokens of a grant, refresh token first (RFC 7009); return for each what became of it."""
        return await self._revoker.give_back(grant)

    # ------------------------------------------------------------------------------------------------------- inside

    async def _load(self) -> Stored:
        self._kept = await self._store.load()
        return self._kept

    def _granted(self, kept: Stored) -> Grant:
        """Return what is stored, else what the operator brought; with the last access token."""
        grant = kept.grant if kept.grant is not None else Grant(refresh_token=self._seed)
        token = self._last.access_token
        return replace(grant, access_token=kept.token.value if token is None and kept.token is not None else token)

    def _news(self, kept: Stored, held: Grant = NO_GRANT) -> SharedToken | None:
        """Return the access token that replicas share, if it is none that is known here and still serves."""
        token = kept.token
        if (
            token is None
            or kept.version <= self._version
            or token.value in (self._last.access_token, held.access_token)
        ):
            return None
        return token if serves(token, self._moment()) else None

    def _adopted(self, kept: Stored, attempt: Attempt) -> Renewal | None:
        """Take the token that another replica has brought, if there is one."""
        token = self._news(kept, attempt.held) if self._store.shared else None
        if token is None:
            return None
        self._version = kept.version
        grant = kept.grant or NO_GRANT
        attempt.held = self._last = replace(grant, access_token=token.value, fields=token.fields)
        attempt.asked_at = asked(token, self._moment())
        attempt.lost = ""
        attempt.result = Issued(token.value, token.lifetime, None, fields=token.fields)
        return replace(self._told(attempt), adopted=True)

    async def _keep(self, attempt: Attempt, stored: Stored) -> bool:
        """Save, as the version behind that of the attempt; False: somebody was faster.

        Raises `StoreUnavailable` where a grant has to wait for the store.
        """
        stored = replace(stored, version=attempt.version + 1)
        try:
            if not await self._store.save(stored):
                return False
        except StoreUnavailable:
            if stored.intent and self._store.on_failure == "hold":
                raise
        attempt.version, self._kept = stored.version, stored
        return True

    async def _override(self, stored: Stored) -> None:
        """Save, whatever others save meanwhile: a human has decided."""
        with suppress(StoreUnavailable):  # then it is saved as soon as that ends
            for _ in range(_COURSES):
                version = (await self._load()).version + 1
                self._kept = replace(stored, version=version)
                if await self._store.save(self._kept):
                    break
        self._version = max(self._version, self._kept.version)

    def _consent(self, held: Grant) -> Attempt:
        return Attempt(self._clock.monotonic(), held, epoch=self._given_back, consent=True)

    def _stale(self, attempt: Attempt) -> bool:
        return attempt.epoch != (self._given_back if attempt.consent else self._replaced)

    def _discovers(self, override: RequestOverride) -> bool:
        """Tell whether a token request needs the server's metadata: nobody wrote where it goes."""
        return self._iclient.token_url is None and override.url is None

    def _over(self, attempt: Attempt) -> bool:
        """Tell whether the server said that the refresh token is of no use any more."""
        # What only a human can replace is kept as long as there is hope.
        over = _INVALID if self._iclient.grant_type in BROUGHT else _REFRESH_IS_OVER
        return isinstance(attempt.result, Failure) and attempt.result.code in over

    async def _lose(self, attempt: Attempt) -> bool:
        """Give the refresh token up; False: another replica has a newer one."""
        result = attempt.result
        if not isinstance(result, Failure) or not await self._keep(attempt, Stored(grant=NO_GRANT)):
            return False
        attempt.lost = result.code
        attempt.held = replace(attempt.held, refresh_token=None)
        self._seed = None
        if self._iclient.grant_type in BROUGHT:
            attempt.result = replace(result, remedy=Remedy.ANOTHER_GRANT)
        return True

    async def _try(
        self,
        attempt: Attempt,
        grant: str,
        build: Callable[[Material], TokenRequest],
        *,
        discover: bool,
        once: bool = False,
    ) -> None:
        """Make one request, and a second one where an assertion was refused because a clock is wrong."""
        attempt.grant = grant
        for again in (not once and self._server.signs, False):
            attempt.asked_at = self._moment()
            made = await self._server.made(build, attempt.held, attempt.authorization, discover=discover)
            if isinstance(made, Failure):
                attempt.result = made
                return
            attempt.grant = made.grant
            attempt.sent += 1
            attempt.result = await self._exchange(made)
            if discover and _nobody_there(attempt.result):
                self._discovery.doubt()
            if not (self._server.learn_skew(attempt.result) and again and isinstance(attempt.result, Failure)):
                return

    async def _exchange(self, request: TokenRequest) -> Issued | Failure:
        began = self._clock.monotonic()
        answer = await self._server.answer(request)
        if isinstance(answer, Failure):
            result: Issued | Failure = answer
            if answer.code == "url_outside_valid_domains":
                return result  # nothing was asked
        else:
            result = read(answer, self._iclient, limit=self._limit, now=self._clock.wall())
        outcome = result.outcome if isinstance(result, Failure) else Outcome.OK
        key = request.grant, outcome.value
        self.counters.requests[key] = self.counters.requests.get(key, 0) + 1
        self.counters.duration.observe(self._clock.monotonic() - began)
        return result

    async def _ended(self, attempt: Attempt) -> Renewal:
        """Store what was granted, then report; another replica's token, if that one was faster."""
        result, held = attempt.result, attempt.held
        if isinstance(result, Issued):
            before = replace(held, access_token=None)
            after = replace(before, refresh_token=result.refresh_token or held.refresh_token, fields=result.fields)
            attempt.held = replace(after, access_token=result.access_token)
            if not self._stale(attempt):
                worth = after.refresh_token is not None or bool(after.callback)
                token = shared(result, attempt.asked_at or self._moment()) if self._store.shared else None
                if attempt.consent:
                    # Whatever there was is another grant's, maybe another account's.
                    self._last = attempt.held
                    self._replaced += 1
                    self._seed = None
                    await self._override(Stored(grant=after if worth else NO_GRANT, token=token))
                else:
                    stored = Stored(grant=after if worth else self._kept.grant, token=token)
                    wanted = token is not None or (worth and (after != before or attempt.intended))
                    if wanted and (found := await self._settled(attempt, held, stored)) is not None:
                        return found
                    if not self._stale(attempt):
                        self._last, self._version = attempt.held, attempt.version
        return self._told(attempt)

    async def _settled(self, attempt: Attempt, before: Grant, stored: Stored) -> Renewal | None:
        """Save what a renewal brought; return the token of another replica that took the turn meanwhile and has one."""
        with suppress(StoreUnavailable):
            for _ in range(_COURSES):
                if await self._keep(attempt, stored) or self._stale(attempt):
                    break
                # Our turn was over before we were. If all that another one has saved is what he is about to do, he will
                # need what we have; what he has got already is what everybody goes on with.
                kept = await self._load()
                ours, attempt.held = attempt.held, before
                if (found := self._adopted(kept, attempt)) is not None:
                    return found
                attempt.held, attempt.version = ours, kept.version
        return None

    def _told(self, attempt: Attempt) -> Renewal:
        if attempt.result is None:
            raise ValueError("nothing was tried")
        return Renewal(
            result=attempt.result,
            grant=attempt.grant or self._iclient.grant_type,
            asked_at=attempt.asked_at or self._moment(),
            refreshable=attempt.held.refresh_token is not None,
            seconds=self._clock.monotonic() - attempt.began,
            requests=attempt.sent,
            lost=attempt.lost,
            held=attempt.held,
            skew=self.skew,
            stale=self._stale(attempt),
        )

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall(), self._sources.chance())


def _nobody_there(result: Issued | Failure) -> bool:
    """Tell whether a request met no endpoint: the host is gone, or it leads somewhere else."""
    return isinstance(result, Failure) and (result.outcome is Outcome.TRANSPORT or result.status in _NOT_HERE)
