"""`iclient-proxy demo --faults`: servers that misbehave as told, for somebody else's proxy to be tried against."""

from __future__ import annotations

import json
import secrets
import signal
import sys
import textwrap
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console

from proxy.cli.failures import UsageError
from proxy.clock import SystemClock
from proxy.demo.definition import CLIENT_ID, SECRET_VARIABLE
from proxy.demo.faults import FAULTS, NAMES
from proxy.demo.faulty import COUNTS, RESET, FaultyWorld

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.demo.faults import Fault

_LIST: Final = "list"
_ALL: Final = "all"
_WIDTH: Final = 100
_INDENT: Final = "     "


def serve(names: Sequence[str], lifetime: int, environ: Mapping[str, str], *, as_json: bool) -> None:
    """Serve these faults until Ctrl-C, or list all of them; raises `UsageError` for a name that is none."""
    if list(names) == [_LIST]:
        _list(as_json=as_json)
        return
    faults = _chosen(names)
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    secret = environ.get(SECRET_VARIABLE) or secrets.token_urlsafe(24)
    with FaultyWorld(faults, secret, lifetime, SystemClock()) as world:
        if as_json:
            typer.echo(json.dumps(_told(world, secret, lifetime)))
        else:
            _show(Console(highlight=False, soft_wrap=True), world, secret, lifetime)
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            ended.wait()


def _chosen(names: Sequence[str]) -> list[Fault]:
    if not names:
        raise UsageError(f"demo --faults which? Name some of {', '.join(NAMES)}, or `all`; `demo --faults list` tells")
    unknown = [name for name in names if name not in (*NAMES, _ALL)]
    if unknown:
        known = f"there are {', '.join(NAMES)}; `iclient-proxy demo --faults list` says what they do"
        raise UsageError(f"no fault is named {', '.join(map(repr, unknown))}; {known}")
    return [fault for fault in FAULTS if fault.name in names or _ALL in names]


def _list(*, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_words(fault) for fault in FAULTS], indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for fault in FAULTS:
        console.print(fault.name, style="bold green")
        _paragraph(console, fault.does)
        _paragraph(console, f"Should be: {fault.good}")
        console.print()
    console.print("iclient-proxy demo --faults NAME… serves some of them, `all` serves all.")


def _paragraph(console: Console, words: str) -> None:
    console.print(textwrap.fill(words, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT), markup=False)


def _words(fault: Fault) -> dict[str, object]:
    return {"name": fault.name, "does": fault.does, "good": fault.good, "grant_type": fault.grant}


def _told(world: FaultyWorld, secret: str, lifetime: int) -> dict[str, object]:
    return {
        "client_id": CLIENT_ID,
        "client_secret": secret,
        "expires_in": lifetime,
        "counts": f"{world.api}{COUNTS}",
        "reset": f"{world.api}{RESET}",
        "faults": [
            _words(served.fault)
            | {"token_url": world.token_url(name), "api_url": world.api_url(name)}
            | ({"refresh_token": served.first_refresh_token} if served.fault.rotates else {})
            for name, served in world.served.items()
        ],
    }


def _show(console: Console, world: FaultyWorld, secret: str, lifetime: int) -> None:
    console.print()
    console.print(
        "[bold]iclient-proxy demo --faults[/]  servers that misbehave, for a proxy or client to be tried against"
    )
    for name, served in world.served.items():
        console.print()
        console.print(name, style="bold green")
        _paragraph(console, served.fault.does)
        lines = [
            ("token endpoint", world.token_url(name)),
            ("API", f"{world.api_url(name)}/…"),
            ("grant type", served.fault.grant),
            *([("refresh token", served.first_refresh_token)] if served.fault.rotates else []),
        ]
        for title, words in lines:
            console.print(f"{_INDENT}{title:<16}{words}", markup=False)
        _paragraph(console, f"Should be: {served.fault.good}")
    console.print()
    console.print("For all of them", style="bold")
    console.print(f"     client          {CLIENT_ID}, by HTTP Basic or in the body", markup=False)
    console.print(f"     secret          export {SECRET_VARIABLE}={secret}", markup=False)
    console.print(f"     tokens live     {lifetime} s", markup=False)
    console.print()
    console.print("It all goes on until Ctrl-C. In another terminal:", style="bold")
    console.print(f"     curl {world.api}{COUNTS}", style="cyan", markup=False)
    console.print(f"     curl -X POST {world.api}{RESET}", style="cyan", markup=False)
