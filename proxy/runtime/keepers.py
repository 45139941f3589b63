"""Builds the keeper of a connection: its policy from the definitions, its issuer, its way to the token endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.oauth.redirect import redirect_url
from proxy.outbound.token_endpoint import TokenEndpoint
from proxy.tokens.correspondence import Sources
from proxy.tokens.discovery import Discoveries
from proxy.tokens.fingerprint import fingerprint
from proxy.tokens.issuer import BROUGHT, Issuer
from proxy.tokens.keeper import Keeper
from proxy.tokens.lease import Ahead
from proxy.tokens.pace import FLOOR, Policy
from proxy.tokens.retries import Retries
from proxy.tokens.store.memory import MemoryStore
from proxy.tokens.unavailable import advice

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, IClient
    from proxy.definitions.settings import Limits
    from proxy.outbound.egress import Gate
    from proxy.outbound.token_endpoint import Resolver
    from proxy.tokens.store.file import GrantFolder, StoredGrant
    from proxy.tokens.store.redis import GrantServer, ServedGrant

# Seconds over which the first renewals of all connections are spread.
PREFETCH: Final = 1.0
# RFC 8705 §3: what was got with a certificate may be good only together with it.
_BOUND: Final = "the token may be bound to the iClient's certificate: set tls.client_cert on the connection, too"


def _nowhere() -> None:
    """There is no admin listener for a browser to come back to."""


def keeper_for(
    connection: Connection,
    limits: Limits,
    *,
    clock: Clock,
    random: Random,
    resolver: Resolver,
    retries: Retries | None = None,
    gate: Gate | None = None,
    discoveries: Discoveries | None = None,
    prefetch: float = PREFETCH,
    before: Keeper | None = None,
    admin_base: Callable[[], str | None] = _nowhere,
    grants: GrantFolder | GrantServer | None = None,
    kind: type[Keeper] = Keeper,
) -> Keeper:
    """Return the keeper of a connection that has an iClient.

    `random` spreads and jitters; `prefetch` is the time in seconds over which the first renewal is
    spread, where the connection wants one. `before` is the keeper that a reload replaces: its counters go on, and so
    does its grant, where that is still the one that is meant.
    `retries` is where all keepers of the process wait for their turn after a failure, `discoveries` what they share.
    `admin_base` tells where a browser finds the admin listener once it is bound.
    `gate` leads through the egress proxy, where there is one.
    `grants` is where grants outlive the process; without it they do not. `kind` is the class of the keeper.
    """
    iclient = connection.iclient
    if iclient is None:
        raise ValueError(f"connection {connection.name} needs no token")
    stored = grants.store(connection, iclient) if grants is not None else None
    # What goes on with the same grant goes on with what memory keeps of it, and renews when the other does not.
    same = before if before is not None and before.issuer.mark == fingerprint(connection, iclient) else None
    memory = same.issuer.store if same is not None else MemoryStore()
    endpoint = TokenEndpoint(iclient, limits, resolver, gate)
    issuer = Issuer(
        connection,
        iclient,
        endpoint=endpoint,
        discovery=(discoveries or Discoveries(clock, limit=limits.token_answer)).of(iclient, endpoint),
        store=stored if stored is not None else memory,
        clock=clock,
        sources=Sources(random.random, random.randbytes, lambda: redirect_url(iclient, connection, admin_base())),
        limit=limits.token_answer,
        pause=limits.backoff.min,
        before=before.counters if before is not None else None,
        lock=same.issuer.lock if same is not None else None,
        outlived=stored is not None,
    )
    return kind(
        connection.name,
        issuer,
        policy_of(iclient, limits),
        clock=clock,
        chance=random.random,
        retries=retries or Retries(clock.monotonic),
        prefetch=prefetch if connection.prefetch else None,
        scope=iclient.scope_delimiter.join(connection.scopes),
        authorized=iclient.grant_type not in BROUGHT
        or _authorized(connection, stored)
        or (same is not None and same.issuer.refreshable),
        hint=_BOUND if iclient.client_auth == "tls_client_auth" and connection.tls.client_cert is None else "",
        remedy=lambda: advice(connection.name, admin_base(), by_human=iclient.grant_type != "refresh_token"),
        before=same,
    )


def _authorized(connection: Connection, store: StoredGrant | ServedGrant | None) -> bool:
    """Tell whether there is something to refresh with; what only a server knows is looked for by the first renewal."""
    if store is None:
        return connection.refresh_token is not None
    held = store.held
    return held is None or (connection.refresh_token if held.grant is None else held.grant.refresh_token) is not None


def policy_of(iclient: IClient, limits: Limits) -> Policy:
    """Return what the operator wrote about times, as the life of a token needs it."""
    return Policy(
        ahead=Ahead(iclient.refresh_ahead, written=iclient.refresh_ahead_written),
        keep_alive=iclient.keep_alive,
        backoff_min=limits.backoff.min,
        backoff_max=limits.backoff.max,
        brake=limits.brake,
        cooldown_min=limits.cooldown.min,
        cooldown_max=limits.cooldown.max,
        token_wait=limits.token_wait,
        floor=min(FLOOR, limits.backoff.min),
        own_grant=iclient.grant_type not in BROUGHT,
        passwords=iclient.grant_type == "password",
    )
