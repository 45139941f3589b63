"""Reads once what an authorization server says about itself, for connections whose definitions name an `issuer`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

from proxy.oauth.failure import EndpointFault, Failure, Outcome, Remedy
from proxy.oauth.metadata import Metadata, metadata_requests, read_metadata

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.definitions.models import IClient
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.response import EndpointAnswer

# Servers move their endpoints with months of notice; a day is soon enough to hear of it.
KEPT: Final = 86400.0
# Where they are in doubt, or could not be read again, this is the shortest time between two looks.
SOON: Final = 60.0


class Endpoint(Protocol):
    """Carries a request to an authorization server."""

    async def send(self, request: TokenRequest) -> EndpointAnswer:
        """Return the complete answer; raise `EndpointFault` when there is none."""
        ...


class Discovery:
    """The metadata of one issuer, for all iClients that see it alike; who asks while they are read gets the same."""

    def __init__(self, iclient: IClient, endpoint: Endpoint, clock: Clock, *, limit: int) -> None:
        self._issuer = iclient.issuer
        self._endpoint = endpoint
        self._clock = clock
        self._limit = limit
        self._lock = asyncio.Lock()
        self._found: Metadata | None = None
        self._reads = 0
        self._read_last: Metadata | Failure | None = None
        self._read_at = self._until = 0.0

    @property
    def known(self) -> Metadata | None:
        """What was read last, None where nothing was read yet."""
        return self._found

    async def metadata(self) -> Metadata | Failure | None:
        """Return the metadata, or why there are none; None where no issuer is named."""
        if self._issuer is None:
            return None
        asked_after = self._reads
        async with self._lock:
            if self._reads != asked_after:
                return self._read_last  # by another one, who asked a little earlier
            if self._found is not None and self._clock.monotonic() < self._until:
                return self._found
            outcome = await self._read(self._issuer)
            self._read_at = self._clock.monotonic()
            if isinstance(outcome, Metadata):
                self._found, self._until = outcome, self._read_at + KEPT
            else:
                # What was true yesterday is better than nothing while the server is away. Where there is nothing, the
                # back-off of the token request is what keeps attempts apart.
                self._until = self._read_at + SOON
                outcome = self._found or outcome
            self._reads += 1
            self._read_last = outcome
            return outcome

    def doubt(self) -> None:
        """Nobody was where the metadata lead to: they are read again before long."""
        self._until = min(self._until, self._read_at + SOON)

    async def _read(self, issuer: str) -> Metadata | Failure:
        failure = Failure(Outcome.OTHER_ERROR, "metadata_not_found", Remedy.OPERATOR)
        for request in metadata_requests(issuer):
            try:
                answer = await self._endpoint.send(request)
            except EndpointFault as fault:
                return Failure(
                    fault.outcome, fault.code, Remedy.WAIT if fault.attempted else Remedy.OPERATOR, said=fault.reason
                )
            outcome = read_metadata(answer, issuer, limit=self._limit)
            if isinstance(outcome, Metadata):
                return outcome
            failure = outcome
            if failure.remedy is Remedy.WAIT:
                break
        return failure


class Discoveries:
    """What all connections of the process know of their issuers: a thousand of them at one issuer read it once.

    Shared are only what is asked for, by whom it is trusted, and where it may lead to; what nobody holds is forgotten.
    """

    def __init__(self, clock: Clock, *, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._known: WeakValueDictionary[tuple[object, ...], Discovery] = WeakValueDictionary()

    def of(self, iclient: IClient, endpoint: Endpoint) -> Discovery:
        """Return the metadata as this iClient may see them; the first one's endpoint reads them for all."""
        key = (iclient.issuer, iclient.tls, iclient.valid_domains, iclient.allow_insecure)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Discovery(iclient, endpoint, self._clock, limit=self._limit)
        return found
