"""The page of every key: where it stands, what may be written, what holds without it, what it is for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pages.text import begun, code, table
from proxy.definitions.auth_errors import AuthErrorsKind, StatusRange
from proxy.definitions.auth_errors import Values as RuleValues
from proxy.definitions.binds import BindKind
from proxy.definitions.connections import CONNECTION, IClientRef
from proxy.definitions.destinations import Denied, Proxy
from proxy.definitions.endpoints import DomainList, Issuer, RedirectUrl
from proxy.definitions.iclients import ICLIENT, Words
from proxy.definitions.keys.pem import Certificates, PrivateKey
from proxy.definitions.keys.rotated import KeyFile, Rotated
from proxy.definitions.listeners import OneOrMany
from proxy.definitions.notation.kinds import Choice, Duration, Flag, Kind, RatioOrDuration, Size, Text, Whole
from proxy.definitions.notation.shapes import AutoOr, Block, ListOf, Nullable, OrFalse
from proxy.definitions.notation.values import SecretValue, Value
from proxy.definitions.params import Provider
from proxy.definitions.redis_url import RedisUrl
from proxy.definitions.table import TOP, Named, Only, Span
from proxy.definitions.templates.templated import Headers, MapOf, TemplateValue, UrlText
from proxy.definitions.templates.trees import Object
from proxy.definitions.token_exchange import Values as ExchangeValues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.definitions.notation.shapes import Key

_ABOUT: Final = """\
Every key that a definition may hold. `check` refuses any other, and says which one you may have meant. What a key
without a default does when it is absent stands beside it, or in [the iClient](iclient.md).

- A **value** is text, or `{env: NAME}`, `{file: PATH}`, `{sealed: "…"}`; a **secret** is one of these three, or text
  where `allow_inline_secrets` is on. [Values](../values.md) says more.
- A **template** is a value that may hold [placeholders](../values.md#placeholders).
- A **duration** is `500ms`, `30s`, `5m`, `1h` or several of them; a **size** is `64KiB`, `1MiB` or a number of bytes.
- `null` unsets what `defaults` or a provider would bring, where the table says so.
- Keys that begin with `x-` are yours, anywhere."""
_TITLES: Final = {"": "Top level", "iclient": "An iClient", "connection": "A connection"}
# Blocks with a part of the page to themselves.
_PARTS: Final = ("listeners", "store", "log", "shutdown", "limits")
_WORDS: Final[dict[type[Kind[Any]], str]] = {
    AuthErrorsKind: "a list of [rules](../auth-errors.md), or `{any, never}`",
    BindKind: "`address:port`, or `unix:/path`",
    Certificates: "certificates (PEM), or the path of their file",
    Denied: "a network, a host, `*.suffix`, or `*:port`",
    DomainList: "list of domains",
    ExchangeValues: "value, or a list of values",
    Flag: "`true`, `false`",
    Headers: "map of templates, `null` removes",
    IClientRef: "name of an iClient, or an iClient",
    Issuer: "URL",
    KeyFile: "private key (secret), or its file",
    Object: "mapping, or JSON text that is one",
    PrivateKey: "private key (PEM, secret), or the path of its file",
    Provider: "name of a [provider](../providers.md)",
    Proxy: "URL (secret if it holds a password)",
    RatioOrDuration: "ratio up to 0.9, or a duration",
    RedirectUrl: "template",
    RedisUrl: "URL (secret if it holds a password)",
    Rotated: "secret; a file is read for each request",
    RuleValues: "list of values, or text with commas",
    SecretValue: "secret",
    StatusRange: "status, or a range of them",
    TemplateValue: "template",
    UrlText: "URL, a template",
    Value: "value",
    Words: "list, or text",
}


def page() -> str:
    """Return the page."""
    lines = begun("Definitions: every key", _ABOUT)
    for name, block in (("", TOP), ("iclient", ICLIENT), ("connection", CONNECTION)):
        parts = _PARTS if block is TOP else ()
        lines += [f"## {_TITLES[name]}", "", *_table(block, skipped=parts)]
        for part in parts:
            lines += [f"## `{part}`", "", *_table(block, only=part)]
    return "\n".join(lines).rstrip() + "\n"


def keys() -> list[str]:
    """Return the path of every key that has a row; those of iClients and connections begin with that word."""
    return [
        path
        for prefix, block in (("", TOP), ("iclient.", ICLIENT), ("connection.", CONNECTION))
        for path, _ in _walk(block, prefix)
    ]


def _table(block: Block, skipped: tuple[str, ...] = (), only: str = "") -> list[str]:
    rows = [
        (code(path), _written(key), _default(key), key.doc)
        for path, key in _walk(block)
        if path.partition(".")[0] not in skipped and (not only or path.startswith(f"{only}."))
    ]
    return table(("key", "what may be written", "without it", ""), rows)


def _walk(block: Block, above: str = "") -> Iterator[tuple[str, Key]]:
    for name, key in block.keys.items():
        path = above + name
        yield path, key
        inner = _inner(key.kind)
        # What stands below `defaults` has parts of its own.
        if inner is not None and inner not in (ICLIENT, CONNECTION):
            yield from _walk(inner, f"{path}.")


def _inner(kind: Kind[Any]) -> Block | None:
    if isinstance(kind, Span):
        return kind.block()
    if isinstance(kind, OrFalse | AutoOr | Nullable):
        return _inner(kind.kind)
    if isinstance(kind, OneOrMany | ListOf):
        return _inner(kind.item)
    return kind if isinstance(kind, Block) else None


def _written(key: Key) -> str:
    text = _kind(key.kind)
    return f"{text}; **required**" if key.required else f"{text}, `null`" if key.nullable else text


def _kind(kind: Kind[Any]) -> str:  # a table whose rows ask the kind for its range
    match kind:
        case Choice():
            return ", ".join(code(word) for word in kind.choices)
        case Whole():
            return f"{kind.low} to {kind.high}"
        case Only():
            return code(str(kind.number))
        case Size():
            return "size"
        case Duration():
            return f"duration, {kind.low} to {kind.high}"
        case Text():
            return kind.expected
        case OrFalse():
            return f"{_kind(kind.kind)}, or `false`"
        case AutoOr():
            return f"`auto`, {_kind(kind.kind)}"
        case Nullable():
            return f"{_kind(kind.kind)}, `null`"
        case OneOrMany():
            return f"{_kind(kind.item)}, or a list of them"
        case ListOf():
            return f"list: {_kind(kind.item)}" + (", or one of them" if kind.one else "")
        case MapOf():
            return f"map: {_kind(kind.item)}"
        case Named():
            return "map of names to " + (
                "[iClients](#an-iclient)" if kind.block is ICLIENT else "[connections](#a-connection)"
            )
        case Block() | Span():
            return "mapping"
        case _:
            return _WORDS[type(kind)]


def _default(key: Key) -> str:
    if key.default is None:
        return ""
    return code(key.default if isinstance(key.default, str) and key.default.strip() else json.dumps(key.default))
