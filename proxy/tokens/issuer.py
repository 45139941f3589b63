"""Makes the token requests of one connection: refreshes where it can, else runs the connection's own grant."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth import request as requests
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import Device, device_authorization, device_token, read_device
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.oauth.response import Issued, read
from proxy.oauth.revoke import can_revoke, read_revocation, revocation
from proxy.tokens.correspondence import Correspondent
from proxy.tokens.counters import counters
from proxy.tokens.lease import Moment
from proxy.tokens.unavailable import UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient, RequestOverride
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.grant import Authorization
    from proxy.oauth.material import Material
    from proxy.oauth.metadata import Metadata
    from proxy.oauth.revoke import Hint
    from proxy.secret import Secret
    from proxy.tokens.correspondence import Sources
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.discovery import Discovery, Endpoint

# Only a human, or the operator, brings these a new grant once theirs is lost.
INTERACTIVE: Final = frozenset({"authorization_code", "device_code"})
BROUGHT: Final = INTERACTIVE | {"refresh_token"}
# These say that refreshing will not work again, however long one waits; the connection's own grant still may.
_INVALID: Final = frozenset({"invalid_grant"})
_REFRESH_IS_OVER: Final = _INVALID | {"unauthorized_client", "unsupported_grant_type"}
# RFC 7009 §2.2.1 lets a server ask for patience; who revokes does not wait for ever.
_REVOCATIONS: Final = 3
_LONGEST_PAUSE: Final = 5.0
# Statuses of a place where no endpoint is (any more), so that what the metadata say may be out of date.
_NOT_HERE: Final = frozenset({301, 302, 303, 307, 308, 404, 405, 410})
# A browser that sets out waits no longer for metadata that it can do without.
_PATIENCE: Final = 2.0

Made = TypeVar("Made")


class Store(Protocol):
    """Remembers the grant of one connection."""

    async def load(self) -> Grant | None:
        """Return the grant, None when there is none."""
        ...

    async def save(self, grant: Grant | None) -> None:
        """Keep this one from now on; None: the grant is lost. Returns when it can't be lost any more."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """How one renewal ended. `grant` is what the last of its requests asked with, `asked_at` when that one was sent.

    `refreshable`: a refresh token is held. `seconds`: the duration of all its `requests`. `lost`: why the refresh
    token was given up, "" when it was not. `held` is what the connection is granted now. `skew` is how far the server's
    clock was ahead. `stale`: the grant was replaced or given back meanwhile, so what this brought is not to be used.
    """

    result: Issued | Failure
    grant: str
    asked_at: Moment
    refreshable: bool
    seconds: float
    requests: int
    lost: str
    held: Grant = NO_GRANT
    skew: float = 0.0
    stale: bool = False


@dataclass(slots=True)
class _Attempt:
    """One renewal under way; `epoch` is the one it belongs to, `consent`: a human brings a grant by it."""

    began: float
    held: Grant
    epoch: int = 0
    consent: bool = False
    grant: str = ""
    asked_at: Moment | None = None
    result: Issued | Failure | None = None
    sent: int = 0
    lost: str = ""
    authorization: Authorization | None = None


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
        self._store = store
        self._clock = clock
        self._sources = sources
        self._limit = limit
        self._pause = pause
        self._seed = connection.refresh_token
        # The last grant with all that came with it, also what is not worth storing.
        self._last = NO_GRANT
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
        known = self._discovery.known
        return can_revoke(self._iclient, known) or (known is None and self._iclient.issuer is not None)

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
        grant_type = self._iclient.grant_type
        attempt = _Attempt(self._clock.monotonic(), await self._granted(), self._replaced)
        if grant_type == "self_signed_jwt":
            attempt.result = await self._server.made(requests.self_signed, attempt.held, discover=False)
            return await self._ended(attempt)
        if attempt.held.refresh_token is not None:
            override = self._iclient.refresh_token_request
            await self._try(attempt, requests.REFRESH, requests.refresh, discover=self._discovers(override))
            await self._consider_loss(attempt)
        elif grant_type in BROUGHT:
            attempt.result = UNAUTHORIZED
        if grant_type not in BROUGHT and (attempt.result is None or attempt.lost):
            discover = self._discovers(self._iclient.access_token_request)
            await self._try(attempt, grant_type, requests.own_grant, discover=discover)
        return await self._ended(attempt)

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
        return await self._server.made(
            lambda material: authorization_url(material, state=state, challenge=challenge),
            await self._granted(),
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
        last, self._last = self._last, NO_GRANT
        held = await self._granted()
        self._seed = None
        await self._store.save(None)
        fields = held.fields or last.fields
        return replace(held, access_token=last.access_token, fields=fields)

    async def give_back(self, grant: Grant) -> tuple[str, ...]:
        """Revoke the tokens of a grant, refresh token first (RFC 7009); return for each what became of it."""
        tokens: tuple[tuple[Secret | None, Hint], ...] = (
            (grant.refresh_token, "refresh_token"),
            (grant.access_token, "access_token"),
        )
        return tuple(
            [f"{hint}: {await self._revoke_one(grant, token, hint)}" for token, hint in tokens if token is not None]
        )

    async def _revoke_one(self, grant: Grant, token: Secret, hint: Hint) -> str:
        discover = self._iclient.revocation_request.url is None and self._iclient.revocation_url is None
        failure: Failure | None = None
        for tried in range(_REVOCATIONS):
            made = await self._server.made(lambda material: revocation(material, token, hint), grant, discover=discover)
            if isinstance(made, Failure):
                return made.code if self.can_revoke else "revocation_unsupported"
            answer = await self._server.answer(made)
            failure = (
                answer
                if isinstance(answer, Failure)
                else read_revocation(answer, limit=self._limit, now=self._clock.wall())
            )
            if failure is None or failure.remedy is not Remedy.WAIT:
                break
            if tried + 1 < _REVOCATIONS:
                await asyncio.sleep(min(failure.retry_after or self._pause * 2.0**tried, _LONGEST_PAUSE))
        return "revoked" if failure is None else failure.code

    # ------------------------------------------------------------------------------------------------------- inside

    async def _granted(self) -> Grant:
        """Return what is stored, else what the operator brought; with the last access token, which is not stored."""
        stored = await self._store.load() or Grant(refresh_token=self._seed)
        return replace(stored, access_token=self._last.access_token)

    def _consent(self, held: Grant) -> _Attempt:
        return _Attempt(self._clock.monotonic(), held, self._given_back, consent=True)

    def _stale(self, attempt: _Attempt) -> bool:
        return attempt.epoch != (self._given_back if attempt.consent else self._replaced)

    def _discovers(self, override: RequestOverride) -> bool:
        """Tell whether a token request needs the server's metadata: nobody wrote where it goes."""
        return self._iclient.token_url is None and override.url is None

    async def _consider_loss(self, attempt: _Attempt) -> None:
        """Give the refresh token up if the server says that it is of no use any more."""
        result = attempt.result
        brought = self._iclient.grant_type in BROUGHT
        # What only a human can replace is kept as long as there is hope.
        over = _INVALID if brought else _REFRESH_IS_OVER
        if not isinstance(result, Failure) or result.code not in over or self._stale(attempt):
            return
        attempt.lost = result.code
        attempt.held = replace(attempt.held, refresh_token=None)
        self._seed = None
        await self._store.save(None)
        if brought:
            attempt.result = replace(result, remedy=Remedy.ANOTHER_GRANT)

    async def _try(
        self,
        attempt: _Attempt,
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

    async def _ended(self, attempt: _Attempt) -> Renewal:
        """Store what was granted, then report."""
        result, held = attempt.result, attempt.held
        if result is None:
            raise ValueError("nothing was tried")
        if isinstance(result, Issued):
            before = replace(held, access_token=None)
            after = replace(before, refresh_token=result.refresh_token or held.refresh_token, fields=result.fields)
            held = replace(after, access_token=result.access_token)
            if not self._stale(attempt):
                self._last = held
                if attempt.consent:
                    # Whatever there was is another grant's, maybe another account's.
                    self._replaced += 1
                    self._seed = None
                worth = after.refresh_token is not None or bool(after.callback)
                if attempt.consent or (worth and after != before):
                    await self._store.save(after if worth else None)
        return Renewal(
            result=result,
            grant=attempt.grant or self._iclient.grant_type,
            asked_at=attempt.asked_at or self._moment(),
            refreshable=held.refresh_token is not None,
            seconds=self._clock.monotonic() - attempt.began,
            requests=attempt.sent,
            lost=attempt.lost,
            held=held,
            skew=self.skew,
            stale=self._stale(attempt),
        )

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall(), self._sources.chance())


def _nobody_there(result: Issued | Failure) -> bool:
    """Tell whether a request met no endpoint: the host is gone, or it leads somewhere else."""
    return isinstance(result, Failure) and (result.outcome is Outcome.TRANSPORT or result.status in _NOT_HERE)
