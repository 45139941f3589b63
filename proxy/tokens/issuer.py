"""Makes the token requests of one renewal: refreshes where it can, else runs the connection's own grant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proxy.oauth import request as requests
from proxy.oauth.failure import EndpointFault, Failure, Outcome, Remedy
from proxy.oauth.response import Issued, read
from proxy.tokens.counters import counters
from proxy.tokens.lease import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient
    from proxy.oauth.request import TokenRequest
    from proxy.oauth.response import EndpointAnswer
    from proxy.secret import Secret
    from proxy.tokens.counters import TokenCounters

# These say that refreshing will not work again, however long one waits; the connection's own grant still may.
_REFRESH_IS_OVER: Final = frozenset({"invalid_grant", "unauthorized_client", "unsupported_grant_type"})


class Endpoint(Protocol):
    """Carries a token request to its server."""

    async def post(self, request: TokenRequest) -> EndpointAnswer:
        """Return the complete answer; raise `EndpointFault` when there is none."""
        ...


class Store(Protocol):
    """Remembers the refresh token of one connection."""

    async def load(self) -> Secret | None:
        """Return the refresh token, None when there is none."""
        ...

    async def save(self, refresh_token: Secret | None) -> None:
        """Keep this one from now on; None: the grant is lost. Returns when it can't be lost any more."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """How one renewal ended. `grant` is what the last of its requests asked with, `asked_at` when that one was sent.

    `refreshable`: a refresh token is held. `seconds`: the duration of all its `requests`. `lost`: why the refresh
    token was given up, "" when it was not.
    """

    result: Issued | Failure
    grant: str
    asked_at: Moment
    refreshable: bool
    seconds: float
    requests: int
    lost: str


class Issuer:
    """The token requests of one connection. `chance` returns a number x with 0 ≤ x < 1, `limit` is in bytes.

    `before`: the counters of the connection before a reload changed it; they go on.
    """

    def __init__(
        self,
        connection: Connection,
        iclient: IClient,
        *,
        endpoint: Endpoint,
        store: Store,
        clock: Clock,
        chance: Callable[[], float],
        limit: int,
        before: TokenCounters | None = None,
    ) -> None:
        self.counters = counters(connection.name, iclient.grant_type, before)
        self._connection = connection
        self._iclient = iclient
        self._endpoint = endpoint
        self._store = store
        self._clock = clock
        self._chance = chance
        self._limit = limit

    async def renew(self) -> Renewal:
        """Get a new access token. A rotated refresh token is stored before this returns, so before its use."""
        began = self._clock.monotonic()
        refresh_token = await self._store.load()
        sent, lost = 0, ""
        request = asked_at = result = None
        if refresh_token is not None:
            request = requests.refresh(self._iclient, refresh_token)
            asked_at, result, sent = self._moment(), await self._send(request), 1
            if isinstance(result, Failure) and result.code in _REFRESH_IS_OVER:
                lost, refresh_token = result.code, None
                await self._store.save(None)
        if request is None or asked_at is None or result is None or lost:
            request = requests.own_grant(self._connection, self._iclient)
            asked_at, result, sent = self._moment(), await self._send(request), sent + 1
        if isinstance(result, Issued) and result.refresh_token is not None and result.refresh_token != refresh_token:
            await self._store.save(refresh_token := result.refresh_token)
        return Renewal(
            result=result,
            grant=request.grant,
            asked_at=asked_at,
            refreshable=refresh_token is not None,
            seconds=self._clock.monotonic() - began,
            requests=sent,
            lost=lost,
        )

    async def _send(self, request: TokenRequest) -> Issued | Failure:
        began = self._clock.monotonic()
        try:
            answer = await self._endpoint.post(request)
        except EndpointFault as fault:
            remedy = Remedy.WAIT if fault.attempted else Remedy.OPERATOR
            result: Issued | Failure = Failure(fault.outcome, fault.code, remedy, said=fault.reason)
            if not fault.attempted:
                return result
        else:
            result = read(answer, self._iclient, limit=self._limit, now=self._clock.wall())
        outcome = result.outcome if isinstance(result, Failure) else Outcome.OK
        self.counters.requests[request.grant, outcome.value] += 1
        self.counters.duration.observe(self._clock.monotonic() - began)
        return result

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall(), self._chance())
