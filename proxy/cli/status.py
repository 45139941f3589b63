"""`iclient-proxy status`: the connections of the running proxy."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.admin_client import VARIABLE, AdminClient, Row
from proxy.cli.where import admin_url
from proxy.clock import SystemClock

_PIPE_WIDTH: Final = 160
_COLOURS: Final = {
    "valid": "green",
    "due": "green",
    "not_applicable": "dim",
    "none": "yellow",
    "expired": "yellow",
    "spent": "yellow",
    "disputed": "yellow",
    "backoff": "yellow",
    "braked": "red",
    "authorization_required": "red",
}

Admin = Annotated[
    str | None,
    typer.Option("--admin", metavar="URL", help=f"The admin listener; default ${VARIABLE}, else by the definitions."),
]
Config = Annotated[
    list[Path] | None, typer.Option("--config", "-c", help="A file or a folder; may be given several times.")
]


class Format(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


AsFormat = Annotated[Format, typer.Option("--format", help="How it is printed.")]


def status(admin: Admin = None, config: Config = None, format: AsFormat = Format.TEXT) -> None:  # noqa: A002
    """Show each connection of the running proxy: the state of its token, its expiry, its last error, what comes next.

    Example: iclient-proxy status --admin http://127.0.0.1:7489
    """
    rows = AdminClient(admin_url(admin, config, os.environ), os.environ).connections()
    if format is Format.JSON:
        typer.echo(json.dumps(rows, indent=2))
        return
    # A file or a pipe has no width; a table that is cut there could not be read by anybody.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table(rows, SystemClock().wall()))


def table(rows: list[Row], now: float) -> Table:
    """Return the connections as a table; `now` is in seconds since the epoch."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("CONNECTION", "STATE", "EXPIRES", "RENEWED", "NEXT", "LAST ERROR"):
        shown.add_column(title, no_wrap=True)
    for row in rows:
        coming = " ".join(filter(None, (row["next_action"], span(row["next_attempt_at"], now))))
        shown.add_row(
            row["name"],
            Text(row["state"], style=_COLOURS.get(row["state"], "")),
            span(row["expires_at"], now) or "-",
            span(row["last_renewal_at"], now) or "-",
            coming or "-",
            row["last_error"] or "-",
        )
    return shown


def span(moment: str | None, now: float) -> str:
    """Return how far a moment (RFC 3339) is away: `in 59m`, `12s ago`; "" without one."""
    if moment is None:
        return ""
    seconds = datetime.fromisoformat(moment).timestamp() - now
    length = abs(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if length >= size:
            amount = f"{int(length // size)}{unit}"
            break
    else:
        amount = f"{int(length)}s"
    return f"in {amount}" if seconds >= 0 else f"{amount} ago"
