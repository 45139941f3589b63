"""`iclient-proxy reload`: have the running proxy read its definitions again."""

from __future__ import annotations

import json
import os
import sys

import typer
from rich.console import Console

from proxy.cli.admin_client import AdminClient
from proxy.cli.status import Admin, AsFormat, Config, Format
from proxy.cli.where import admin_url


def reload(
    admin: Admin = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Have the running proxy read its definitions again: all of them or, with a fault, none (exit status 78).

    Example: iclient-proxy reload
    """
    client = AdminClient(admin_url(admin, config, os.environ), os.environ)
    with Console(stderr=True).status("Reading the definitions again …"):
        report = client.reload()
    if format is Format.JSON:
        typer.echo(json.dumps(report, indent=2))
    elif report["applied"]:
        typer.echo(f"Applied; changed: {', '.join(report['changed'])}" if report["changed"] else "Nothing has changed.")
    else:
        sys.stderr.write("".join(f"{fault}\n" for fault in report["faults"]))
        sys.stderr.write("iclient-proxy: nothing was applied; the proxy goes on with the definitions it has\n")
    if not report["applied"]:
        raise typer.Exit(os.EX_CONFIG)
