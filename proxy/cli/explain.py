"""`iclient-proxy explain`: what the definitions make of a connection, before anything runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from proxy.cli.explain_response import ResponseFile, explained, show
from proxy.cli.renew import Connection
from proxy.cli.status import AsFormat, Config, Format
from proxy.cli.where import definitions_at
from proxy.clock import SystemClock

if TYPE_CHECKING:
    from proxy.cli.masked import Shown
    from proxy.definitions.models import Connection as Definition
    from proxy.definitions.models import Definitions, IClient


def explain(
    connection: Connection,
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Whose is it? http://…, or /PATH on the reverse listener.")
    ] = None,
    response: ResponseFile = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Show what the definitions make of CONNECTION: where it is reached, the redirect URL to register, token requests.

    Nothing is sent. The token requests are those of the running proxy, byte for byte, but for secrets: these are ***.

    With --response only this: is it an auth error, by which rule, what would be done, why other rules do not match.

    Example: iclient-proxy explain acme /acme/v1/orders

    Example: curl -si https://api.acme.com/v1/orders | iclient-proxy explain acme --response -
    """
    from proxy.cli.routes import named, owner
    from proxy.definitions.load import load

    definitions = load(definitions_at(config, os.environ), os.environ).definitions
    found = named(definitions, connection)
    content = _content(definitions, found)
    if url is not None:
        content["url"] = {"asked": url, **asdict(owner(definitions, url))}
    if response is not None:
        content["response"] = explained(found, definitions.limits, response)
    console = Console(highlight=False, soft_wrap=True)
    if format is Format.JSON:
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif response is not None:
        show(content["response"], console)
    else:
        _print(content, console)


def _content(definitions: Definitions, connection: Definition) -> dict[str, Any]:
    from proxy.cli.routes import local_url

    iclient = connection.iclient
    base = connection.base_url if isinstance(connection.base_url, str) else connection.base_url.text
    content: dict[str, Any] = {
        "connection": connection.name,
        "iclient": None if iclient is None else iclient.name,
        "grant_type": None if iclient is None else iclient.grant_type,
        "base_url": base,
        "local_url": local_url(definitions, connection),
        "hosts": list(connection.hosts),
    }
    return content if iclient is None else content | _tokens(definitions, connection, iclient)


def _tokens(definitions: Definitions, connection: Definition, iclient: IClient) -> dict[str, Any]:
    from proxy.cli.masked import token_requests

    redirect = _redirect_url(definitions, connection, iclient) if iclient.grant_type == "authorization_code" else None
    requests = token_requests(connection, iclient, redirect, SystemClock().wall(), os.urandom)
    return {
        "redirect_url": redirect,
        "valid_domains": list(iclient.valid_domains),
        "sent_as": _sent_as(connection),
        "requests": [_as_json(request) for request in requests],
    }


def _redirect_url(definitions: Definitions, connection: Definition, iclient: IClient) -> str | None:
    from proxy.definitions.settings import TcpBind
    from proxy.oauth.redirect import admin_base, redirect_url

    admin = definitions.listeners.admin
    port = admin.bind.port if admin is not None and isinstance(admin.bind, TcpBind) else None
    return redirect_url(iclient, connection, admin_base(admin, port))


def _sent_as(connection: Definition) -> str:
    via = connection.send_token_via
    if via.header is not None:
        return f"{via.header.name}: {f'{via.header.scheme} ' if via.header.scheme else ''}***"
    return f"?{via.query.name}=***" if via.query is not None else ""


def _as_json(request: Shown) -> dict[str, Any]:
    if request.unknown is not None:
        return {"what": request.what, "unknown": request.unknown}
    content: dict[str, Any] = {"what": request.what, "method": request.method, "url": request.url}
    content |= {"headers": [list(pair) for pair in request.headers], "body": request.body}
    return content | ({} if request.assertion is None else {"assertion": request.assertion})


def _print(content: dict[str, Any], console: Console) -> None:
    rows = [
        ("connection", content["connection"]),
        ("iClient", _named(content)),
        ("base_url", content["base_url"]),
        ("called as", content["local_url"] or "no route on the reverse listener"),
        ("claims", ", ".join(content["hosts"])),
        ("redirect URL", content.get("redirect_url") and f"{content['redirect_url']}   (register this)"),
        ("valid domains", ", ".join(content.get("valid_domains", ()))),
        ("token goes as", content.get("sent_as")),
    ]
    for name, value in rows:
        if value:
            console.print(Text.assemble((f"{name:<14}", "dim"), str(value)))
    for request in content.get("requests", ()):
        console.print()
        _print_request(request, console)
    if "url" in content:
        console.print()
        _print_owner(content, console)


def _named(content: dict[str, Any]) -> str:
    if content["iclient"] is None:
        return "none: no token is needed"
    return f"{content['iclient']} ({content['grant_type']})"


def _print_request(request: dict[str, Any], console: Console) -> None:
    console.print(Text(request["what"], "bold"))
    if "unknown" in request:
        console.print(Text(f"  can't be shown: {request['unknown']}", "yellow"))
        return
    lines = []
    if request["url"]:
        lines.append(f"{request['method']} {request['url']}")
        lines += [f"{name}: {value}" for name, value in request["headers"]]
    if request["body"]:
        lines += ["", *request["body"].splitlines()]
    if "assertion" in request:
        lines += ["", "assertion (signed anew each time):"]
        lines += [f"  {part} {json.dumps(claims, ensure_ascii=False)}" for part, claims in request["assertion"].items()]
    for line in lines:
        console.print(Text(f"  {line}" if line else ""))


def _print_owner(content: dict[str, Any], console: Console) -> None:
    found = content["url"]
    console.print(Text(found["asked"], "bold"))
    if found["connection"] is None:
        console.print(Text(f"  belongs to no connection: {found['why']}", "yellow"))
        return
    style = "green" if found["connection"] == content["connection"] else "yellow"
    console.print(Text(f"  belongs to {found['connection']}: {found['why']}", style))
    if found["upstream"] is not None and found["upstream"] != found["asked"]:
        console.print(Text(f"  goes to {found['upstream']}"))
