"""`iclient-proxy providers`: the presets that `provider:` in an iClient names, to list, to search, to look at."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.completion import provider_words
from proxy.cli.failures import UsageError
from proxy.cli.plain import plain
from proxy.cli.status import AsFormat, Format

if TYPE_CHECKING:
    from proxy.definitions.providers import Preset

_ACTIONS: Final = ("list", "search", "show")
_UNVERIFIED: Final = "not verified"
_BY_SECRET: Final = ("client_secret_basic", "client_secret_post")


def providers(
    action: Annotated[str, typer.Argument(metavar="[list|search|show]", help="What to do.")] = "list",
    word: Annotated[
        str | None,
        typer.Argument(metavar="[WORD|NAME]", help="What to look for, or whom.", autocompletion=provider_words),
    ] = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """List the providers that an iClient may name, search them, or show what is known of one.

    Example: iclient-proxy providers show zendesk
    """
    from proxy.definitions.providers import names, near, preset

    if action not in _ACTIONS:
        raise typer.BadParameter(f"{action!r} is none of {', '.join(_ACTIONS)}")
    if (word is None) is not (action == "list"):
        raise typer.BadParameter("list takes nothing more" if action == "list" else f"{action} what?")
    console = Console(highlight=False, soft_wrap=True)
    if action == "show":
        known = preset(word or "")
        if known is None:
            guess = near(word or "", names())
            raise UsageError(f"there is no provider {word!r}" + (f"; near it: {', '.join(guess)}" if guess else ""))
        content = described(known)
        if format is Format.JSON:
            typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        else:
            _show(content, console)
        return
    found = [one for name in names() if (one := preset(name)) is not None and (word is None or _is_about(one, word))]
    if not found:
        raise UsageError(f"no provider is about {word!r}; iclient-proxy providers list names all")
    if format is Format.JSON:
        typer.echo(json.dumps([_row(one) for one in found], indent=2, ensure_ascii=False))
    else:
        console.print(table(found))


def table(found: list[Preset]) -> Table:
    """Return providers as a table."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("PROVIDER", "TITLE", "CATEGORY", "GRANTS", "VERIFIED"):
        shown.add_column(title, no_wrap=title != "GRANTS")
    for one in found:
        verified = Text(one.verified or _UNVERIFIED, style="green" if one.verified else "yellow")
        shown.add_row(one.name, one.title, one.category, ", ".join(one.grants), verified)
    return shown


def described(known: Preset) -> dict[str, Any]:
    """Return all that is known of a provider, as JSON."""
    return _row(known) | {
        "docs": known.docs,
        "params": {
            name: {
                "title": param.title,
                "help": param.help,
                "pattern": param.pattern.pattern,
                "example": param.example,
                "required": param.required and param.default is None,
                "default": param.default,
            }
            for name, param in known.params.items()
        },
        "iclient": plain(known.iclient),
        "grants": {name: plain(node) for name, node in known.grants.items()},
        "apis": {
            api.name: {"title": api.title, **plain(api.connection)}
            | ({"iclient": plain(api.iclient)} if api.iclient.entries else {})
            for api in known.apis.values()
        },
        "token": known.token,
        "quirks": list(known.quirks),
    }


def _row(known: Preset) -> dict[str, Any]:
    return {
        "name": known.name,
        "title": known.title,
        "category": known.category,
        "verified": known.verified,
        "grants": list(known.grants),
    }


def _is_about(known: Preset, word: str) -> bool:
    wanted = word.lower()
    return any(wanted in text.lower() for text in (known.name, known.title, known.category, *known.grants))


def _show(content: dict[str, Any], console: Console) -> None:
    verified = content["verified"]
    console.print(Text.assemble((content["title"], "bold"), ("  ", ""), (content["name"], "dim")))
    if verified:
        console.print(Text(f"verified {verified}", "green"))
    else:
        console.print(Text("not verified: nobody has looked these facts up", "yellow"))
    if content["docs"]:
        console.print(content["docs"])
    _section(console, "params", [_asked(name, param) for name, param in content["params"].items()])
    _section(console, "iclient", _lines(content["iclient"]))
    for name, differs in content["grants"].items():
        _section(console, f"grant_type {name}", _lines(differs), keep=True)
    for name, api in content["apis"].items():
        _section(console, f"api {name}", _lines(api))
    _section(console, "tokens", _lines(content["token"]))
    _section(console, "beware", content["quirks"])
    console.print()
    console.print(Text("As a definition", "bold"))
    for line in definition(content):
        console.print(Text(f"  {line}"))


def definition(content: dict[str, Any]) -> list[str]:
    """Return the lines of a definition by the usual grant that answers what has to be answered."""
    grant, differs = next(iter(content["grants"].items()))
    api = next(iter(content["apis"].values()))
    text = json.dumps([content["iclient"], differs, api])
    auth = differs.get("client_auth") or content["iclient"].get("client_auth")
    iclient = [f"provider: {content['name']}", "client_id: YOUR_CLIENT_ID"]
    if auth in _BY_SECRET or "iclient.client_secret" in text:
        iclient.append("client_secret: {env: CLIENT_SECRET}")
    if "jwt" in differs:
        iclient.append("jwt: {private_key: {env: PRIVATE_KEY}}")
    if "iclient.scope" in text:
        iclient.append("scopes: [YOUR_SCOPE]")
    asked = [
        f"  {name}: {json.dumps(param['example'])}"
        for name, param in content["params"].items()
        if param["required"] and f"connection.params.{name}}}" in text
    ]
    if asked:
        iclient += ["params:", *asked]
    connection = ["iclient:", *(f"  {line}" for line in iclient)]
    if grant == "password":
        connection += ["username: YOUR_NAME", "password: {env: PASSWORD}"]
    if secrets := sorted(set(re.findall(r"connection\.secrets\.(\w+)", text))):
        connection += ["secrets:", *(f"  {name}: {{env: {name.upper()}}}" for name in secrets)]
    name = content["name"].removeprefix("x-")  # a key that begins with x- is nobody's
    return ["connections:", f"  {name}:", *(f"    {line}" for line in connection)]


def _asked(name: str, param: dict[str, Any]) -> str:
    default = f"; default {param['default']}" if param["default"] else "" if param["required"] else "; may be left out"
    return f"{name}: {param['title']}, {param['help']}, as in {param['example']}{default}"


def _lines(content: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in content.items()
    ]


def _section(console: Console, title: str, lines: list[str], *, keep: bool = False) -> None:
    if not lines and not keep:
        return
    console.print()
    console.print(Text(title, "bold"))
    for line in lines:
        console.print(Text(f"  {line}"))
