"""Makes the token requests of one connection: refreshes where it can, else runs the connection's own grant."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from proxy.definitions.placeholders import RenderError
from proxy.definitions.secretfile import FileRefusedError, read_text
from proxy.oauth import request as requests
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import Device, device_authorization, device_token, read_device
from proxy.oauth.failure import EndpointFault, Failure, Outcome, Remedy
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.oauth.material import Material
from proxy.oauth.response import Issued, read
from proxy.oauth.revoke import can_revoke, read_revocation, revocation
from proxy.secret import Secret
from proxy.tokens.counters import counters
from proxy.tokens.lease import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient, RotatedSecret, SecretFile
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.grant import Authorization
    from proxy.oauth.metadata import Metadata
    from proxy.oauth.response import EndpointAnswer
    from proxy.oauth.revoke import Hint
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.discovery import Discovery, Endpoint

# Only a human, or the operator, brings these a new grant once theirs is lost.
INTERACTIVE: Final = frozenset({"authorization_code", "device_code"})
BROUGHT: Final = INTERACTIVE | {"refresh_token"}
# These say that refreshing will not work again, however long one waits; the connection's own grant still may.
_REFRESH_IS_OVER: Final = frozenset({"invalid_grant", "unauthorized_client", "unsupported_grant_type"})
# Servers allow assertions some seconds; a clock further off than this is worth a second try (RFC 7523 §3).
_SKEW: Final = 30.0
# RFC 7009 §2.2.1 lets a server ask for patience; who revokes does not wait for ever.
_REVOCATIONS: Final = 3
_LONGEST_PAUSE: Final = 5.0

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
    token was given up, "" when it was not. `held` is what the connection is granted now.
    """

    result: Issued | Failure
    grant: str
    asked_at: Moment
    refreshable: bool
    seconds: float
    requests: int
    lost: str
    held: Grant = NO_GRANT


@dataclass(slots=True)
class _Attempt:
    """One renewal under way."""

    began: float
    held: Grant
    grant: str = ""
    asked_at: Moment | None = None
    result: Issued | Failure | None = None
    sent: int = 0
    lost: str = ""
    authorization: Authorization | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where an issuer's randomness comes from: `chance` for jitter (0 ≤ x < 1), `entropy` for what must not be guessed.

    `redirect_url` returns the connection's, None where it has none: the port of the admin listener may be known late.
    """

    chance: Callable[[], float]
    entropy: Callable[[int], bytes]
    redirect_url: Callable[[], str | None]


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
        self.skew = 0.0
        self._connection = connection
        self._iclient = iclient
        self._endpoint = endpoint
        self._discovery = discovery
        self._store = store
        self._clock = clock
        self._sources = sources
        self._limit = limit
        self._pause = pause
        self._seed = connection.refresh_token
        self._signs = iclient.jwt is not None and iclient.jwt.key is not None

    @property
    def can_revoke(self) -> bool:
        """A revocation endpoint is known."""
        return can_revoke(self._iclient, self._discovery.known)

    @property
    def metadata(self) -> Metadata | None:
        """What the authorization server said about itself, as far as it was asked."""
        return self._discovery.known

    @property
    def redirect_url(self) -> str | None:
        """Where the authorization server sends browsers back to; None where that can't be."""
        return self._sources.redirect_url()

    # ----------------------------------------------------------------------------------------------------- renewing

    async def renew(self) -> Renewal:
        """Get a new access token. A rotated refresh token is stored before this returns, so before its use."""
        attempt = _Attempt(self._clock.monotonic(), await self._granted())
        grant_type = self._iclient.grant_type
        if grant_type == "self_signed_jwt":
            return await self._signed(attempt)
        if attempt.held.refresh_token is not None:
            await self._try(attempt, requests.REFRESH, requests.refresh)
            if isinstance(attempt.result, Failure) and attempt.result.code in _REFRESH_IS_OVER:
                attempt.lost = attempt.result.code
                attempt.held = replace(attempt.held, refresh_token=None)
                self._seed = None
                await self._store.save(None)
                if grant_type in BROUGHT:
                    attempt.result = replace(attempt.result, remedy=Remedy.ANOTHER_GRANT)
        elif grant_type in BROUGHT:
            attempt.result = Failure(Outcome.INVALID_GRANT, "authorization_required", Remedy.ANOTHER_GRANT)
        if grant_type not in BROUGHT and (attempt.result is None or attempt.lost):
            await self._try(attempt, grant_type, requests.own_grant)
        return await self._ended(attempt)

    async def redeem(self, authorization: Authorization, callback: dict[str, str]) -> Renewal:
        """Redeem an authorization code (RFC 6749 §4.1.3): once, whatever comes of it, since codes are single use."""
        attempt = _Attempt(self._clock.monotonic(), Grant(callback=callback))
        attempt.authorization = authorization
        await self._try(attempt, "authorization_code", requests.own_grant, once=True)
        return await self._ended(attempt)

    async def authorization_url(self, state: str, challenge: str | None) -> str | Failure:
        """Return where a browser goes to authorize (RFC 6749 §4.1.1)."""
        attempt = _Attempt(self._clock.monotonic(), await self._granted())
        return await self._made(attempt, lambda material: authorization_url(material, state=state, challenge=challenge))

    async def device(self) -> Device | Failure:
        """Ask for a user code (RFC 8628 §3.1)."""
        made = await self._made(_Attempt(self._clock.monotonic(), NO_GRANT), device_authorization)
        if isinstance(made, Failure):
            return made
        answer = await self._answer(made)
        if isinstance(answer, Failure):
            return answer
        return read_device(answer, limit=self._limit, now=self._clock.wall())

    async def poll(self, device_code: Secret) -> Renewal:
        """Ask whether the human has agreed (RFC 8628 §3.4)."""
        attempt = _Attempt(self._clock.monotonic(), NO_GRANT)
        await self._try(attempt, "device_code", lambda material: device_token(material, device_code), once=True)
        return await self._ended(attempt)

    # ----------------------------------------------------------------------------------------------------- revoking

    async def revoke(self, access_token: Secret | None) -> tuple[str, ...]:
        """Give the grant back, refresh token first (RFC 7009); return for each token what became of it.

        Whatever the server says, the grant is forgotten.
        """
        held = await self._granted()
        await self._store.save(None)
        self._seed = None
        return await self.give_back(held.refresh_token, access_token)

    async def give_back(self, refresh_token: Secret | None, access_token: Secret | None) -> tuple[str, ...]:
        """Revoke these tokens; return for each what became of it: `refresh_token: revoked`."""
        tokens: tuple[tuple[Secret | None, Hint], ...] = (
            (refresh_token, "refresh_token"),
            (access_token, "access_token"),
        )
        return tuple([f"{hint}: {await self._revoke_one(token, hint)}" for token, hint in tokens if token is not None])

    async def _revoke_one(self, token: Secret, hint: Hint) -> str:
        attempt = _Attempt(self._clock.monotonic(), NO_GRANT)
        made = await self._made(attempt, lambda material: revocation(material, token, hint))
        if isinstance(made, Failure):
            return made.code if self.can_revoke else "revocation_unsupported"
        failure: Failure | None = None
        for tried in range(_REVOCATIONS):
            answer = await self._answer(made)
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
        """Return what is stored, else what the operator brought."""
        return await self._store.load() or Grant(refresh_token=self._seed)

    async def _signed(self, attempt: _Attempt) -> Renewal:
        made = await self._made(attempt, requests.self_signed)
        attempt.result = made
        return await self._ended(attempt)

    async def _try(
        self,
        attempt: _Attempt,
        grant: str,
        build: Callable[[Material], TokenRequest],
        *,
        once: bool = False,
    ) -> None:
        """Make one request, and a second one where an assertion was refused because a clock is wrong."""
        attempt.grant = grant
        for again in (not once and self._signs, False):
            attempt.asked_at = self._moment()
            made = await self._made(attempt, build)
            if isinstance(made, Failure):
                attempt.result = made
                return
            attempt.grant = made.grant
            attempt.sent += 1
            attempt.result = await self._exchange(made)
            if not (self._learn_skew(attempt.result) and again and isinstance(attempt.result, Failure)):
                return

    async def _made(self, attempt: _Attempt, build: Callable[[Material], Made]) -> Made | Failure:
        """Return what `build` makes; signing with a private key happens on another thread, it may take milliseconds."""
        metadata = await self._discovery.metadata()
        if isinstance(metadata, Failure):
            return metadata
        try:
            rotated = await self._rotated()
            material = Material(
                connection=self._connection,
                iclient=self._iclient,
                now=self._clock.wall() + self.skew,
                entropy=self._sources.entropy,
                redirect_url=self._sources.redirect_url(),
                metadata=metadata,
                grant=attempt.held,
                authorization=attempt.authorization,
                rotated=rotated,
            )
            return await asyncio.to_thread(build, material) if self._signs else build(material)
        except RenderError as error:
            return Failure(Outcome.OTHER_ERROR, error.code, Remedy.OPERATOR, said=error.message)
        except FileRefusedError as refused:
            return Failure(Outcome.OTHER_ERROR, refused.code, said=refused.message)

    async def _rotated(self) -> dict[SecretFile, Secret]:
        """Read the files whose secrets somebody else rotates."""
        written = [each for each in _files(self._iclient) if not isinstance(each, Secret)]
        return {each: Secret((await asyncio.to_thread(read_text, each.path)).text) for each in written}

    async def _exchange(self, request: TokenRequest) -> Issued | Failure:
        began = self._clock.monotonic()
        answer = await self._answer(request)
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

    async def _answer(self, request: TokenRequest) -> EndpointAnswer | Failure:
        try:
            return await self._endpoint.send(request)
        except EndpointFault as fault:
            remedy = Remedy.WAIT if fault.attempted else Remedy.OPERATOR
            return Failure(fault.outcome, fault.code, remedy, said=fault.reason)

    def _learn_skew(self, result: Issued | Failure) -> bool:
        """Take note of the server's clock; whether the one that was used was wrong."""
        if result.server_time is None:
            return False
        difference = result.server_time - self._clock.wall()
        skew = difference if abs(difference) > _SKEW else 0.0
        wrong = abs(skew - self.skew) > _SKEW
        if wrong:
            self.skew = skew
        return wrong

    async def _ended(self, attempt: _Attempt) -> Renewal:
        """Store what was granted, then report."""
        result, held = attempt.result, attempt.held
        if result is None:
            raise ValueError("nothing was tried")
        if isinstance(result, Issued):
            refresh_token = result.refresh_token or held.refresh_token
            stored = replace(held, refresh_token=refresh_token, fields=result.fields)
            if stored != held and (refresh_token is not None or held.callback):
                await self._store.save(stored)
            held = replace(stored, access_token=result.access_token)
        return Renewal(
            result=result,
            grant=attempt.grant or self._iclient.grant_type,
            asked_at=attempt.asked_at or self._moment(),
            refreshable=held.refresh_token is not None,
            seconds=self._clock.monotonic() - attempt.began,
            requests=attempt.sent,
            lost=attempt.lost,
            held=held,
        )

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall(), self._sources.chance())


def _files(iclient: IClient) -> Iterator[RotatedSecret]:
    """Yield the secrets of an iClient that may stand in files of somebody else."""
    if iclient.jwt is not None and iclient.jwt.token is not None:
        yield iclient.jwt.token
    if (exchange := iclient.token_exchange) is not None:
        yield exchange.subject_token
        if exchange.actor_token is not None:
            yield exchange.actor_token
