"""`iclient-proxy token`: one access token, fetched by this process itself; no running proxy is asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from proxy.cli.failures import UsageError
from proxy.cli.renew import Connection
from proxy.cli.status import AsFormat, Config, Format
from proxy.cli.where import definitions_at
from proxy.clock import SystemClock

if TYPE_CHECKING:
    from proxy.definitions.models import Connection as Definition
    from proxy.definitions.models import Definitions


def token(connection: Connection, config: Config = None, format: AsFormat = Format.TEXT) -> None:  # noqa: A002
    """Run the grant of CONNECTION and print the access token, nothing else, on standard output.

    Example: curl -H "Authorization: Bearer $(iclient-proxy token acme)" https://api.acme.com/v1/orders
    """
    from proxy.definitions.load import load
    from proxy.definitions.settings import Log
    from proxy.observe.logging import configure
    from proxy.tokens.issuer import BROUGHT

    definitions = load(definitions_at(config, os.environ), os.environ).definitions
    found = next((each for each in definitions.connections if each.name == connection), None)
    if found is None:
        names = ", ".join(each.name for each in definitions.connections) or "none"
        raise UsageError(f"no connection is called {connection!r}; there are: {names}")
    if found.iclient is None:
        raise UsageError(f"the connection {connection!r} has no iclient, so it needs no token")
    if found.iclient.grant_type in BROUGHT:
        raise UsageError(
            f"only the running proxy holds the grant of {connection!r} ({found.iclient.grant_type}): "
            "asking here would spend its refresh token"
        )
    logs = configure(Log(level="warning"), SystemClock(), fd=2)
    try:
        with Console(stderr=True).status("Running the grant …"):
            value, expires_at = asyncio.run(_fetch(found, definitions))
    finally:
        logs.close()
    if format is Format.JSON:
        expires = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
        typer.echo(json.dumps({"connection": connection, "access_token": value, "expires_at": expires}, indent=2))
    else:
        typer.echo(value)


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
