"""What serves one set of definitions, as `assemble` has made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.exchange.plan import TokenSource, TokenVerdicts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.definitions.models import Connection, Definitions
    from proxy.exchange.claims import Claim
    from proxy.exchange.plan import Plan
    from proxy.inbound.listener import Listener
    from proxy.outbound.origins import OriginPools
    from proxy.runtime.doors import Key
    from proxy.tokens.keeper import Keeper


class Tokens(TokenSource, TokenVerdicts, Protocol):
    """Whoever hands out tokens and hears what becomes of them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One connection's parts; `keeper` is None where no token is needed.

    `plan` and `pools` are for its route, `claim` for the hosts that it claims on the forward listener.
    """

    connection: Connection
    plan: Plan
    pools: OriginPools
    claim: Claim
    keeper: Keeper | None

    def retire_streams(self) -> None:
        """The connection is no more: what is under way is still served."""
        self.pools.retire()
        self.claim.plans.retire()

    async def close_streams(self) -> None:
        """Close what rests and stop dialling."""
        await self.pools.close()
        await self.claim.plans.close()


@dataclass(frozen=True, slots=True)
class Assembly:
    """What serves one set of definitions: parts by connection, listeners by door, in the order written.

    `authority` is the certificate (PEM) that clients of interception have to trust, None where there is none.
    """

    definitions: Definitions
    parts: Mapping[str, Part]
    listeners: Mapping[Key, Listener]
    authority: str | None
