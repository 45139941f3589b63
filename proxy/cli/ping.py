"""`iclient-proxy ping`: one request of the running proxy's own, to see whether a connection works."""

from __future__ import annotations

import json
import os
from typing import Final

import typer
from rich.console import Console

from proxy.cli.admin_client import AdminClient
from proxy.cli.renew import Connection
from proxy.cli.status import Admin, AsFormat, Config, Format
from proxy.cli.where import admin_url

# A token may have to be fetched first, and the upstream may take its time (`timeouts.response` is a minute).
_TIMEOUT: Final = 120.0


def ping(
    connection: Connection,
    admin: Admin = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Have the running proxy send the `ping` of CONNECTION with its token; exit status 69 if it is not answered well.

    Example: iclient-proxy ping acme
    """
    client = AdminClient(admin_url(admin, config, os.environ), os.environ, timeout=_TIMEOUT)
    with Console(stderr=True).status(f"Asking the API of {connection} …"):
        result = client.test(connection)
    if format is Format.JSON:
        typer.echo(json.dumps({"connection": connection, **result}, indent=2))
    else:
        status = "no response" if result["status"] is None else str(result["status"])
        detail = f": {result['detail']}" if result["detail"] else ""
        typer.echo(
            f"{connection}: {'good' if result['good'] else 'not good'}, {status} in {result['ms']:.0f} ms{detail}"
        )
    if not result["good"]:
        raise typer.Exit(os.EX_UNAVAILABLE)
