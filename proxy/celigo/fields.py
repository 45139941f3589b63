"""Fields of integrator.io that iClients and connections have in common, in the words of definitions. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from proxy.celigo.placeholders import UntranslatableError, translated

if TYPE_CHECKING:
    from proxy.celigo.notes import ResourceNotes
    from proxy.celigo.placeholders import Names

    Mapping = dict[str, Any]

MASK: Final = re.compile(r"\*+")
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE)
_HEADER_LINE: Final = re.compile(r"\s*([^:\s]+)\s*:\s*(.*?)\s*")


def text(value: object) -> str:
    """Return a scalar as the text that it is in JSON; "" for null and what is none."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return ""


def member(content: object, *path: str) -> Any:  # noqa: ANN401  # JSON
    """Return what lies at a path of members, None where there is nothing."""
    for step in path:
        if not isinstance(content, dict):
            return None
        content = content.get(step)
    return content


def words(value: object) -> list[str]:
    """Return a list, or text that is separated by commas, as a list without empty items."""
    items = value if isinstance(value, list) else text(value).split(",")
    return [one for one in (text(item).strip() for item in items) if one]


def template(value: object, names: Names, place: str, notes: ResourceNotes) -> str | None:
    """Return a text with its placeholders translated; None, and a note, where that can't be."""
    written = text(value)
    if not written:
        return None
    try:
        return translated(written, names)
    except UntranslatableError as error:
        notes.left(place, f"it holds {error}, which has no counterpart")
        return None


def header_pairs(value: object) -> list[tuple[str, str]]:
    """Return headers that are written as a list of name and value, as a map, as JSON text or as lines of text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            lines = [_HEADER_LINE.fullmatch(line) for line in str(value).splitlines()]
            return [(line[1], line[2]) for line in lines if line is not None]
    if isinstance(value, dict):
        return [(name, text(item)) for name, item in value.items()]
    if isinstance(value, list):
        return [(text(item.get("name")), text(item.get("value"))) for item in value if isinstance(item, dict)]
    return []


def request(content: object, names: Names, place: str, notes: ResourceNotes, *, media_type: str = "") -> Mapping:
    """Return what differs from the default request: `method`, `headers`, `body`, `body_format`; the URL is not here.

    `media_type` is what the body is sent as where no header says so.
    """
    override: Mapping = {}
    method = text(member(content, "method")).upper()
    if method == "GET":
        override["method"] = "GET"
    elif method not in {"", "POST"}:
        override["method"] = method
    headers: Mapping = {}
    kind = media_type
    for name, value in header_pairs(member(content, "headers")):
        if not name:
            continue
        if name.lower() == "content-type":
            kind = value.partition(";")[0].strip().lower()
            continue
        said = template(value, names, f"{place}.headers.{name}", notes)
        if said is not None:
            headers[name] = said.strip()
    if headers:
        override["headers"] = headers
    body = _body(member(content, "body"), names, f"{place}.body", notes)
    if body is not None:
        override["body"] = body
    if _JSON.fullmatch(kind) or kind == "json":
        if override.get("method") != "GET":
            override["body_format"] = "json"
    elif kind not in {"", _FORM, "urlencoded"}:
        notes.left(f"{place}.headers", f"bodies of the type {kind} are not sent: form and JSON are")
    return override


def _body(written: object, names: Names, place: str, notes: ResourceNotes) -> Mapping | None:
    """Return a body as a mapping whose leaves are templates, None where there is none or it can't be one."""
    content = written
    if isinstance(content, str):
        if not content.strip():
            return None
        content = _parsed(content)
    if not isinstance(content, dict):
        if written not in (None, "", [], {}):
            notes.left(place, "it is neither a JSON object nor urlencoded text")
        return None
    if not content:
        return None
    try:
        return {name: _leaves(value, names) for name, value in content.items()}
    except UntranslatableError as error:
        notes.left(place, f"it holds {error}, which has no counterpart; the default body is sent")
        return None


def _parsed(written: str) -> object:
    # A template that stands alone for a number or a map is no JSON until it is rendered: as a text it is.
    for attempt in (written, re.sub(r'(?<!")(\{\{\{[^{}"]*\}\}\})(?!")', r'"\1"', written)):
        try:
            return json.loads(attempt)
        except ValueError:
            continue
    if written.lstrip()[:1] in {"{", "["}:
        return None
    pairs = parse_qsl(written.strip().lstrip("?"), keep_blank_values=True)
    return dict(pairs) if pairs else None


def _leaves(value: object, names: Names) -> object:
    match value:
        case str():
            return translated(value, names)
        case dict():
            return {name: _leaves(item, names) for name, item in value.items()}
        case list():
            return [_leaves(item, names) for item in value]
        case _:
            return value


def auth_errors(content: object, names: Names, place: str, notes: ResourceNotes) -> list[Mapping]:
    """Return the rules that `failures`, or else the three single fields, come to; none where 401 alone is meant."""
    listed = member(content, "failures")
    rules = [content] if not isinstance(listed, list) or not listed else listed
    found: list[Mapping] = []
    for index, rule in enumerate(rules):
        at = f"{place}.failures[{index}]" if rule is not content else place
        one: Mapping = {}
        status = text(member(rule, "statusCode") or member(rule, "failStatusCode"))
        path = text(member(rule, "path") or member(rule, "failPath")).strip()
        values = words(member(rule, "values") or member(rule, "failValues"))
        if status:
            if status.isdecimal() and 100 <= int(status) <= 599:
                one["status"] = [int(status)]
            else:
                notes.left(at, f"{status} is not a status code")
        if path:
            said = template(path, names, f"{at}.path", notes)
            if said is None:
                continue
            one["path"] = said
            if values:
                one["values"] = values
        elif values:
            notes.left(at, "values without a path have no effect, there as here")
        if one and one not in found:
            found.append(one)
    return [] if found == [{"status": [401]}] else found


def placement(
    location: object, header: object, scheme: object, parameter: object, place: str, notes: ResourceNotes
) -> Mapping | None:
    """Return `send_token_via`; None where the default is meant."""
    match text(location):
        case "url":
            return {"query": {"name": text(parameter) or "access_token"}}
        case "body":
            notes.left(place, "a token in the body is not supported: bodies pass unchanged; is a header possible?")
            return None
        case _:
            name = text(header).strip() or "Authorization"
            said = text(scheme) if scheme is not None else "Bearer"
            said = said.strip()
            return (
                None
                if (name.lower(), said) == ("authorization", "Bearer")
                else {"header": {"name": name, "scheme": said}}
            )


def bag(content: object, kind: str, given: dict[str, str], place: str, notes: ResourceNotes) -> Mapping:
    """Return free fields: `kind` is `secrets`, whose values stand in the environment, or `settings`."""
    found: Mapping = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if kind == "secrets":
            found[given[name]] = notes.secret(given[name], f"{place}.{name}")
        elif isinstance(value, dict | list):
            notes.left(f"{place}.{name}", "a setting is text, not a list or a map")
        else:
            found[given[name]] = text(value)
    return found
