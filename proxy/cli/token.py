"""`iclient-proxy token`: one access token, fetched here or read from the shared store; no running proxy is asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console

from proxy.cli.failures import UsageError
from proxy.cli.renew import Connection
from proxy.cli.status import AsFormat, Config, Format
from proxy.cli.where import definitions_at
from proxy.clock import SystemClock
from proxy.errors import MachineError

if TYPE_CHECKING:
    from proxy.definitions.models import Connection as Definition
    from proxy.definitions.models import Definitions

_LATER: Final = "a running proxy gets one when a request needs it, and only that may spend the refresh token"


def token(connection: Connection, config: Config = None, format: AsFormat = Format.TEXT) -> None:  # noqa: A002
    """Run the grant of CONNECTION and print the access token, nothing else, on standard output.

    A grant that a human brought is not run: with a store in Redis, the token that the replicas share is printed.

    Example: curl -H "Authorization: Bearer $(iclient-proxy token acme)" https://api.acme.com/v1/orders
    """
    from proxy.definitions.load import load
    from proxy.definitions.settings import Log, RedisStore
    from proxy.observe.logging import configure
    from proxy.tokens.issuer import BROUGHT

    definitions = load(definitions_at(config, os.environ), os.environ).definitions
    found = next((each for each in definitions.connections if each.name == connection), None)
    if found is None:
        names = ", ".join(each.name for each in definitions.connections) or "none"
        raise UsageError(f"no connection is called {connection!r}; there are: {names}")
    if found.iclient is None:
        raise UsageError(f"the connection {connection!r} has no iclient, so it needs no token")
    shared = definitions.store if found.iclient.grant_type in BROUGHT else None
    if found.iclient.grant_type in BROUGHT and not isinstance(shared, RedisStore):
        raise UsageError(
            f"only the running proxy holds the grant of {connection!r} ({found.iclient.grant_type}): "
            "asking here would spend its refresh token"
        )
    logs = configure(Log(level="warning"), SystemClock(), fd=2)
    try:
        with Console(stderr=True).status("Reading the store …" if shared is not None else "Running the grant …"):
            value, expires_at = asyncio.run(
                _shared(found, definitions) if shared is not None else _fetch(found, definitions)
            )
    finally:
        logs.close()
    if format is Format.JSON:
        expires = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
        typer.echo(json.dumps({"connection": connection, "access_token": value, "expires_at": expires}, indent=2))
    else:
        typer.echo(value)


async def _shared(connection: Definition, definitions: Definitions) -> tuple[str, float | None]:
    """Return the token that replicas share and when it expires (seconds since the epoch). Nothing is renewed here.

    Raises `UsageError` without one that still serves, `MachineError` (`store_unavailable`) where the store is away.
    """
    from proxy.runtime.stores import open_stores
    from proxy.tokens.lease import unusable_after
    from proxy.tokens.stored import StoreUnavailable

    stores = open_stores(definitions, random.SystemRandom(), SystemClock())
    try:
        if stores.grants is None or connection.iclient is None:
            raise ValueError(connection.name)
        stored = await stores.grants.store(connection, connection.iclient).load()
    except StoreUnavailable as error:
        raise MachineError("store_unavailable", f"the store can't be read: {error}") from error
    finally:
        await stores.close()
    token = stored.token
    if token is None:
        raise UsageError(f"the store holds no access token of {connection.name!r}: {_LATER}")
    if token.lifetime is None:
        return token.value.reveal(), None
    if SystemClock().wall() >= token.asked_at + unusable_after(token.lifetime):
        raise UsageError(f"the access token of {connection.name!r} in the store has expired: {_LATER}")
    return token.value.reveal(), token.asked_at + token.lifetime


async def _fetch(connection: Definition, definitions: Definitions) -> tuple[str, float | None]:
    """Return the token and when it expires (seconds since the epoch); raises `TokenUnavailable`."""
    from proxy.outbound.destinations import Destinations
    from proxy.outbound.egress import Gate
    from proxy.outbound.resolve import Resolver
    from proxy.runtime.keepers import keeper_for

    resolver = Resolver()
    egress = definitions.egress_proxy
    keeper = keeper_for(
        connection,
        definitions.limits,
        clock=SystemClock(),
        random=random.SystemRandom(),
        resolver=resolver,
        gate=Gate(egress, resolver, Destinations) if egress is not None else None,
    )
    try:
        await keeper.renew()
        access_token = await keeper.wait()
        # Printing it is what was asked for.
        return access_token.value.reveal(), keeper.snapshot().expires_at
    finally:
        await keeper.close()
