"""Gives tokens back to the authorization server (RFC 7009)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.oauth.failure import Failure, Remedy
from proxy.oauth.revoke import can_revoke, read_revocation, revocation

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.definitions.models import IClient
    from proxy.oauth.grant import Grant
    from proxy.oauth.revoke import Hint
    from proxy.secret import Secret
    from proxy.tokens.correspondence import Correspondent
    from proxy.tokens.discovery import Discovery

# RFC 7009 §2.2.1 lets a server ask for patience; who revokes does not wait for ever.
_REVOCATIONS: Final = 3
_LONGEST_PAUSE: Final = 5.0


class Revoker:
    """The revocations of one connection. `limit` is in bytes, `pause` the first one between two tries, in seconds."""

    def __init__(
        self,
        iclient: IClient,
        server: Correspondent,
        discovery: Discovery,
        clock: Clock,
        *,
        limit: int,
        pause: float,
    ) -> None:
        self._iclient = iclient
        self._server = server
        self._discovery = discovery
        self._clock = clock
        self._limit = limit
        self._pause = pause

    @property
    def is_possible(self) -> bool:
        """A revocation endpoint is known, or the server's metadata have not been asked for one yet."""
        known = self._discovery.known
        return can_revoke(self._iclient, known) or (known is None and self._iclient.issuer is not None)

    async def give_back(self, grant: Grant) -> tuple[str, ...]:
        """Revoke the tokens of a grant, refresh token first; return for each what became of it."""
        tokens: tuple[tuple[Secret | None, Hint], ...] = (
            (grant.refresh_token, "refresh_token"),
            (grant.access_token, "access_token"),
        )
        return tuple(
            [f"{hint}: {await self._revoke(grant, token, hint)}" for token, hint in tokens if token is not None]
        )

    async def _revoke(self, grant: Grant, token: Secret, hint: Hint) -> str:
        discover = self._iclient.revocation_request.url is None and self._iclient.revocation_url is None
        failure: Failure | None = None
        for tried in range(_REVOCATIONS):
            made = await self._server.made(lambda material: revocation(material, token, hint), grant, discover=discover)
            if isinstance(made, Failure):
                return made.code if self.is_possible else "revocation_unsupported"
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
