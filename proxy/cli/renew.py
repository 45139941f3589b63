"""`iclient-proxy renew`: have the running proxy get a new token now."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from proxy.cli.admin_client import AdminClient
from proxy.cli.completion import connections
from proxy.cli.status import Admin, AsFormat, Config, Format, span
from proxy.cli.where import admin_url
from proxy.clock import SystemClock

Connection = Annotated[
    str, typer.Argument(metavar="CONNECTION", help="The connection's name.", autocompletion=connections)
]


def renew(
    connection: Connection,
    admin: Admin = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Have the running proxy renew the token of CONNECTION now, whatever back-off or brake say.

    Example: iclient-proxy renew acme
    """
    client = AdminClient(admin_url(admin, config, os.environ), os.environ)
    with Console(stderr=True).status(f"Renewing the token of {connection} …"):
        row = client.renew(connection)
    if format is Format.JSON:
        typer.echo(json.dumps(row, indent=2))
        return
    expires = span(row["expires_at"], SystemClock().wall())
    sys.stdout.write(f"{row['name']}: {row['state']}{f', expires {expires}' if expires else ''}\n")
