"""`iclient-proxy authorize`: brings a human, a browser and the running proxy together."""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from proxy.cli.admin_client import AdminClient, AdminRefusalError, NotRunningError, Row
from proxy.cli.failures import UsageError
from proxy.cli.renew import Connection
from proxy.cli.status import Admin, AsFormat, Config, Format, span
from proxy.cli.where import admin_url
from proxy.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.clock import Clock

_SERVING: Final = frozenset({"valid", "due"})
_EVERY: Final = 0.5  # seconds between two looks at the running proxy
_FLOW: Final = 600.0  # what the proxy keeps an authorization for
# Where a graphical browser can be. A text browser would take the terminal away from us.
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def authorize(
    connection: Connection,
    device: Annotated[bool, typer.Option("--device", help="Show a code to enter on another device.")] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="No browser here: read the redirected URL from standard input.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the URL to open.")] = False,
    admin: Admin = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Have a human give CONNECTION its grant, and wait until the running proxy has its tokens.

    The browser opens on the running proxy, which sends it on to the authorization server and takes its redirect.
    With --paste the browser may be anywhere: its last URL, which need not load, is what to paste.

    Example: iclient-proxy authorize acme
    """
    if device + paste + no_browser > 1:
        raise UsageError("--device, --paste and --no-browser exclude each other")
    url = admin_url(admin, config, os.environ)
    client = AdminClient(url, os.environ)
    before = client.connection(connection)
    grant = before.get("grant_type")
    if not before.get("authorize_url"):
        raise UsageError(f"the grant of {connection} ({grant or 'none'}) needs nobody's consent")
    if device and grant != "device_code":
        raise UsageError(f"--device is for the grant device_code; {connection} has {grant}")
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    if paste:
        row = _pasted(client, before, say)
    else:
        if grant == "device_code":
            seconds = _show_code(client.device(connection), say)
        else:
            seconds = _open(url, before, say, browser=not no_browser, environ=os.environ)
        row = _awaited(client, before, say, seconds, SystemClock())
    if format is Format.JSON:
        typer.echo(json.dumps(row, indent=2))
        return
    expires = span(row["expires_at"], SystemClock().wall())
    typer.echo(f"{connection}: authorized{f', expires {expires}' if expires else ''}")


def _open(url: str, row: Row, say: Console, *, browser: bool, environ: Mapping[str, str]) -> float:
    """Open the browser or print where to go; return how long that holds, in seconds."""
    if url.startswith("unix:"):
        raise UsageError("a browser can't open a unix socket: use --paste")
    start = url.rstrip("/") + str(row["authorize_url"])
    start = start if "://" in start else f"http://{start}"
    can = sys.platform == "darwin" or any(environ.get(name) for name in _DISPLAYS)
    if browser and can and webbrowser.open(start):
        say.print(f"The browser is open at {start}", markup=False)
    else:
        say.print(f"Open this in a browser: {start}", markup=False)
        say.print("(on another machine: iclient-proxy authorize --paste)", style="dim", markup=False)
    return _FLOW


def _show_code(started: Row, say: Console) -> float:
    """Show what to enter where (RFC 8628 §3.3); return how long it holds, in seconds."""
    say.print(f"Go to {_shown(started['verification_uri'])}", markup=False)
    say.print(f"and enter {_shown(started['user_code'])}", style="bold", markup=False)
    if started.get("verification_uri_complete"):
        say.print(f"(or open {_shown(started['verification_uri_complete'])})", style="dim", markup=False)
    return float(started["expires_in"])


def _pasted(client: AdminClient, row: Row, say: Console) -> Row:
    name = str(row["name"])
    begun = client.authorize(name)
    say.print(f"Open this in a browser, wherever it is:\n\n{_shown(begun['authorization_url'])}\n", markup=False)
    say.print("After your consent the browser goes to a URL that begins like this, and may fail to load it:")
    say.print(f"{row.get('redirect_url') or 'the redirect URL'}?…", markup=False)
    say.print("Paste that URL: ", end="")
    pasted = sys.stdin.readline().strip()
    if not pasted:
        raise UsageError("nothing was pasted")
    with say.status("Redeeming the code …"):
        return client.redeem(name, pasted, str(begun["session"]))


def _awaited(client: AdminClient, before: Row, say: Console, seconds: float, clock: Clock) -> Row:
    """Look at the running proxy until the connection has new tokens; raises `AdminRefusalError` when it gets none."""
    name = str(before["name"])
    until = clock.monotonic() + seconds
    with say.status(f"Waiting for the authorization of {name} …") as shown:
        while clock.monotonic() < until:
            time.sleep(_EVERY)
            try:
                row = client.connection(name)
            except NotRunningError:
                say.print("The proxy has ended while it was waited for.")
                raise
            renewed = row["last_renewal_at"] != before["last_renewal_at"] or before["state"] not in _SERVING
            if row["state"] in _SERVING and renewed:
                return row
            if row["last_error"] and row["last_error"] != before["last_error"]:
                shown.update(f"Waiting for the authorization of {name} … (so far: {row['last_error']})")
    raise AdminRefusalError(504, f"{name} was not authorized within {seconds:.0f} s")


def _shown(text: object) -> str:
    """Return text of an authorization server without what could steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(text))
