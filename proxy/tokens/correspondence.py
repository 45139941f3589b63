"""Writes to one authorization server: what a request is made of is looked up anew for each, and made off the loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.definitions.notation.secretfile import FileRefusedError, read_text
from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth.failure import EndpointFault, Failure, Outcome, Remedy
from proxy.oauth.material import Material
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient, RotatedSecret, SecretFile
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.grant import Authorization, Grant
    from proxy.oauth.response import EndpointAnswer, Issued
    from proxy.tokens.discovery import Discovery, Endpoint

# Servers allow assertions some seconds; a clock further off than this is worth a second try (RFC 7523 §3).
_SKEW: Final = 30.0

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where an issuer's randomness comes from: `chance` for jitter (0 ≤ x < 1), `entropy` for what must not be guessed.

    `redirect_url` returns the connection's, None where it has none: the port of the admin listener may be known late.
    """

    chance: Callable[[], float]
    entropy: Callable[[int], bytes]
    redirect_url: Callable[[], str | None]


class Correspondent:
    """Makes requests for one connection's authorization server, and sends them.

    `skew` is how far the server's clock is ahead of ours, in seconds; 0 within half a minute. `signs`: requests hold
    assertions that are made here.
    """

    def __init__(
        self,
        connection: Connection,
        iclient: IClient,
        endpoint: Endpoint,
        discovery: Discovery,
        clock: Clock,
        sources: Sources,
    ) -> None:
        self.skew = 0.0
        self.signs = iclient.jwt is not None and iclient.jwt.key is not None
        self._connection = connection
        self._iclient = iclient
        self._endpoint = endpoint
        self._discovery = discovery
        self._clock = clock
        self._sources = sources

    async def made(
        self,
        build: Callable[[Material], Made],
        grant: Grant,
        authorization: Authorization | None = None,
        *,
        discover: bool,
    ) -> Made | Failure:
        """Return what `build` makes, with the server's metadata if it has to `discover` where to go.

        Signing happens on another thread: it may take milliseconds.
        """
        metadata = await self._discovery.metadata() if discover else self._discovery.known
        if isinstance(metadata, Failure):
            return metadata
        try:
            material = Material(
                connection=self._connection,
                iclient=self._iclient,
                now=self._clock.wall() + self.skew,
                entropy=self._sources.entropy,
                redirect_url=self._sources.redirect_url(),
                metadata=metadata,
                grant=grant,
                authorization=authorization,
                rotated=await self._rotated(),
            )
            return await asyncio.to_thread(build, material) if self.signs else build(material)
        except RenderError as error:
            return Failure(Outcome.OTHER_ERROR, error.code, Remedy.OPERATOR, said=error.message)
        except FileRefusedError as refused:
            return Failure(Outcome.OTHER_ERROR, refused.code, said=refused.message)

    async def answer(self, request: TokenRequest) -> EndpointAnswer | Failure:
        """Send a request; return the answer, or why there is none."""
        try:
            return await self._endpoint.send(request)
        except EndpointFault as fault:
            remedy = Remedy.WAIT if fault.attempted else Remedy.OPERATOR
            return Failure(fault.outcome, fault.code, remedy, said=fault.reason, unanswered=fault.sent)

    def learn_skew(self, result: Issued | Failure) -> bool:
        """Take note of the server's clock; tell whether the one that was used was wrong."""
        if result.server_time is None:
            return False
        difference = result.server_time - self._clock.wall()
        skew = difference if abs(difference) > _SKEW else 0.0
        wrong = abs(skew - self.skew) > _SKEW
        if wrong:
            self.skew = skew
        return wrong

    async def _rotated(self) -> dict[SecretFile, Secret]:
        """Read the files whose secrets somebody else rotates."""
        written = [each for each in _files(self._iclient) if not isinstance(each, Secret)]
        return {each: Secret((await asyncio.to_thread(read_text, each.path)).text) for each in written}


def _files(iclient: IClient) -> Iterator[RotatedSecret]:
    """Yield the secrets of an iClient that may stand in files of somebody else."""
    if iclient.jwt is not None and iclient.jwt.token is not None:
        yield iclient.jwt.token
    if (exchange := iclient.token_exchange) is not None:
        yield exchange.subject_token
        if exchange.actor_token is not None:
            yield exchange.actor_token
