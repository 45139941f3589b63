"""Placeholders of integrator.io in ours: the same braces, other paths, fewer helpers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PIECE: Final = re.compile(r"\{\{\{(?P<three>.*?)\}\}\}|\{\{(?P<two>.*?)\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"[^"]*"|'[^']*')|(?P<mark>[()])|(?P<word>(?:\[[^\]]*\]|[^\s()"'\[\]])+))"""
)
_STEP: Final = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]+")

# Whole paths. Bare names are those that integrator.io knows inside OAuth requests.
_PATHS: Final = {
    "clientId": "iclient.client_id",
    "clientSecret": "iclient.client_secret",
    "redirectUri": "iclient.redirect_url",
    "scope": "iclient.scope",
    "username": "connection.username",
    "password": "connection.password",
    "code_verifier": "authorization.code_verifier",
    "codeVerifier": "authorization.code_verifier",
    "code": "authorization.code",
    "query.code": "authorization.code",
    "query.state": "authorization.state",
    "jwt.token": "iclient.jwt.token",
    "iClient.jwt.token": "iclient.jwt.token",
    "iClient.name": "iclient.name",
    "connection.name": "connection.name",
    "connection.http.baseURI": "connection.base_url",
    "connection.http.auth.token.token": "connection.token.access_token",
    "connection.http.auth.token.refreshToken": "connection.token.refresh_token",
    "connection.http.auth.basic.username": "connection.settings.username",
    "connection.http.auth.basic.password": "connection.secrets.password",
    "connection.http.auth.oauth.pkceCodeVerifier": "authorization.code_verifier",
}
_OAUTH: Final = {
    "clientId": "iclient.client_id",
    "clientSecret": "iclient.client_secret",
    "redirectUri": "iclient.redirect_url",
    "scope": "iclient.scope",
    "accessToken": "connection.token.access_token",
    "refreshToken": "connection.token.refresh_token",
    "username": "connection.username",
    "password": "connection.password",
}
_OAUTH_AT: Final = ("iClient.oauth2.", "iClient.", "connection.http.auth.oauth.")
# Where the free fields of an iClient and of a connection are reached.
_BAGS: Final = (
    ("iClient.oauth2.encrypted.", "iclient.secrets"),
    ("iClient.oauth2.unencrypted.", "iclient.settings"),
    ("iClient.encrypted.", "iclient.secrets"),
    ("iClient.unencrypted.", "iclient.settings"),
    ("connection.http.encrypted.", "connection.secrets"),
    ("connection.http.unencrypted.", "connection.settings"),
    ("connection.encrypted.", "connection.secrets"),
    ("connection.unencrypted.", "connection.settings"),
    ("query.", "connection.callback"),
)
_DELIMITERS: Final = frozenset({"scopeDelimiter", *(f"{place}scopeDelimiter" for place in _OAUTH_AT)})
_HELPERS: Final = {
    "base64Encode": "base64Encode",
    "base64Decode": "base64Decode",
    "encodeURI": "encodeURIComponent",
    "hash": "hash",
    "hmac": "hmac",
    "join": "join",
    "jsonSerialize": "jsonSerialize",
    "jsonStringify": "jsonSerialize",
    "lowercase": "lowercase",
    "timestamp": "timestamp",
    "uppercase": "uppercase",
}
# Other helpers of theirs that stand in requests for tokens, so that one of them is never taken for a field.
_UNKNOWN_HELPERS: Final = frozenset({
    "abs", "add", "aws4", "capitalize", "dateAdd", "dateFormat", "decodeURI", "divide", "getValue", "jsonEncode",
    "jsonParse", "lookup", "multiply", "random", "regexMatch", "regexReplace", "replace", "sort", "split", "substring",
    "subtract", "sum", "toFixed", "trim",
})  # fmt: skip
# Tokens of moment.js and what strftime calls the same.
_MOMENT: Final = {
    "YYYY": "%Y", "MM": "%m", "DD": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "Z": "Z", "T": "T",
    "[T]": "T", "[Z]": "Z",
}  # fmt: skip
_MOMENT_TOKEN: Final = re.compile(r"\[[TZ]\]|([A-Za-z])\1*|[^A-Za-z]")
_ISO: Final = "%Y-%m-%dT%H:%M:%SZ"


class UntranslatableError(ProxyError):
    """A placeholder has no counterpart; the text says which, and never holds a secret's value."""


@dataclass(frozen=True, slots=True)
class Names:
    """What free fields are called in the definitions, by where they are reached; `bare` are those of the iClient."""

    iclient_settings: Mapping[str, str] = field(default_factory=dict)
    iclient_secrets: Mapping[str, str] = field(default_factory=dict)
    connection_settings: Mapping[str, str] = field(default_factory=dict)
    connection_secrets: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = " "

    def at(self, place: str) -> Mapping[str, str]:
        """Return the names at `iclient.settings` and its like; none are known for what an answer brings."""
        if place == "connection.callback":
            return {}
        owner, _, kind = place.partition(".")
        found: Mapping[str, str] = getattr(self, f"{owner}_{kind}")
        return found


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return for each free field a name that needs no brackets in a placeholder, told apart where two become one."""
    given: dict[str, str] = {}
    for name in names:
        plain = _ODD.sub("_", name).strip("_") or "field"
        wanted, number = plain, 2
        while wanted in given.values():
            wanted, number = f"{plain}_{number}", number + 1
        given[name] = wanted
    return given


def translated(text: str, names: Names) -> str:
    """Return a text with its placeholders in our words. Raises `UntranslatableError`."""
    found = _PIECE.sub(lambda piece: _expression(piece["three"] or piece["two"] or "", names), text)
    if "{{" in _PIECE.sub("", text):
        raise UntranslatableError("braces that are not closed")
    return found


def paths(text: str) -> frozenset[str]:
    """Return the words in the placeholders of a text, as they are written."""
    words: set[str] = set()
    for piece in _PIECE.finditer(text):
        words |= {found["word"] for found in _TOKEN.finditer(piece["three"] or piece["two"] or "") if found["word"]}
    return frozenset(words)


def _expression(inside: str, names: Names) -> str:
    inside = inside.strip()
    if inside[:1] in {"#", "/", "^", "!", ">", "&", "~", "@"} or inside.startswith("else"):
        raise UntranslatableError(f"the block {{{{{inside[:40]}}}}}: only values and helpers stand in braces")
    tokens = _tokens(inside)
    if not tokens:
        raise UntranslatableError("empty braces")
    said, rest = _call(tokens, names, nested=False)
    if rest:
        raise UntranslatableError(f"what stands behind {said} in braces")
    return "{{{" + said + "}}}"


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if not text[at:].strip():
                break
            raise UntranslatableError(f"what begins at {text[at:].strip()[:20]!r} in braces")
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        at = found.end()
    return tokens


def _call(tokens: list[tuple[str, str]], names: Names, *, nested: bool) -> tuple[str, list[tuple[str, str]]]:
    """Return a path, or a helper with its arguments, and the tokens behind it."""
    kind, word = tokens[0]
    if kind != "word":
        raise UntranslatableError(f"{word} at the beginning of braces")
    if word not in _HELPERS:
        if word in _UNKNOWN_HELPERS or (not nested and len(tokens) > 1):
            raise UntranslatableError(f"the helper {word}")
        return _path(word, names), tokens[1:]
    arguments: list[str] = []
    rest = tokens[1:]
    while rest and rest[0] != ("mark", ")"):
        kind, text = rest[0]
        if kind == "mark":
            said, rest = _call(rest[1:], names, nested=True) if rest[1:] else ("", [])
            if not rest or rest[0] != ("mark", ")"):
                raise UntranslatableError("a parenthesis that is not closed")
            arguments.append(f"({said})" if " " in said else said)
            rest = rest[1:]
            continue
        arguments.append(_argument(kind, text, names))
        rest = rest[1:]
    return _helper(word, arguments, names), rest


def _argument(kind: str, text: str, names: Names) -> str:
    if kind == "string" or _NUMBER.fullmatch(text) or text in {"true", "false"}:
        return text
    return f'"{names.delimiter}"' if text in _DELIMITERS else _path(text, names)


def _helper(word: str, arguments: list[str], names: Names) -> str:
    match word:
        case "join" if arguments[1:] == ["iclient.scope"]:
            # Our `scope` is joined already, and scopes alone are a list.
            if arguments[0] == f'"{names.delimiter}"':
                return "iclient.scope"
            arguments = [arguments[0], "iclient.scopes"]
        case "timestamp":
            arguments = [f'"{_time_format(arguments)}"']
        case "base64Encode" | "base64Decode" if len(arguments) == 2:
            if arguments[1].strip("\"'").lower() not in {"utf8", "utf-8", "ascii"}:
                raise UntranslatableError(f"{word} with the format {arguments[1]}")
            arguments = arguments[:1]
        case "hash" | "hmac":
            arguments = [_lowered(one) for one in arguments]
    return " ".join([_HELPERS[word], *arguments])


def _lowered(argument: str) -> str:
    return argument.lower().replace("-", "") if argument[:1] in {'"', "'"} and len(argument) < 12 else argument


def _time_format(arguments: list[str]) -> str:
    if len(arguments) > 1 and arguments[1].strip("\"'").upper() not in {"UTC", "GMT", "ETC/UTC"}:
        raise UntranslatableError(f"timestamp in the time zone {arguments[1]}")
    written = arguments[0].strip("\"'") if arguments else ""
    if written in {"X", "x"}:
        return written
    if not written:
        return _ISO
    said = ""
    for found in _MOMENT_TOKEN.finditer(written):
        token = found[0]
        if token.isalpha() and token not in _MOMENT:
            raise UntranslatableError(f"timestamp with the format {written}")
        said += _MOMENT.get(token, token)
    return said


def _path(written: str, names: Names) -> str:
    if written in _PATHS:
        return _PATHS[written]
    for place in _OAUTH_AT:
        rest = written.removeprefix(place)
        if rest != written and rest in _OAUTH:
            return _OAUTH[rest]
    for prefix, ours in _BAGS:
        rest = written.removeprefix(prefix)
        if rest != written:
            name = ".".join(first or second for first, second in _STEP.findall(rest))
            return f"{ours}.{_known(name, names.at(ours), written) if ours != 'connection.callback' else name}"
    bare = written.removeprefix("iClient.")
    if bare != written:
        for ours in ("iclient.settings", "iclient.secrets"):
            if bare in names.at(ours):
                return f"{ours}.{names.at(ours)[bare]}"
    raise UntranslatableError(f"the path {written}")


def _known(name: str, known: Mapping[str, str], written: str) -> str:
    if name not in known:
        raise UntranslatableError(f"the path {written}, which no field stands behind")
    return known[name]
