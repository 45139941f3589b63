"""`iclient-proxy revoke`: have the running proxy give a grant back."""

from __future__ import annotations

import json
import os

import typer
from rich.console import Console

from proxy.cli.admin_client import AdminClient
from proxy.cli.renew import Connection
from proxy.cli.status import Admin, AsFormat, Config, Format
from proxy.cli.where import admin_url


def revoke(
    connection: Connection,
    admin: Admin = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Have the running proxy revoke the tokens of CONNECTION at the authorization server and forget them.

    They are forgotten in any case; exit status 69 if the server did not revoke all of them.

    Example: iclient-proxy revoke acme
    """
    client = AdminClient(admin_url(admin, config, os.environ), os.environ)
    with Console(stderr=True).status(f"Revoking the tokens of {connection} …"):
        outcomes = client.revoke(connection)
    kept = {token: code for token, code in outcomes.items() if code != "revoked"}
    if format is Format.JSON:
        typer.echo(json.dumps({"connection": connection, "revoked": not kept, "outcomes": outcomes}, indent=2))
    elif kept:
        reasons = ", ".join(f"{token}: {code}" for token, code in kept.items())
        typer.echo(f"{connection}: forgotten here, but not revoked by the authorization server ({reasons})")
    else:
        typer.echo(f"{connection}: {'revoked' if outcomes else 'there was nothing to revoke'}")
    if kept:
        raise typer.Exit(os.EX_UNAVAILABLE)
