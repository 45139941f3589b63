"""Puts one request together: default fields, what the operator overrides, credentials, encoding. Pure.

Templates are rendered leaf by leaf before anything is encoded, so that no value can break out of its place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_plus, urlencode

from proxy.definitions.templates.placeholders import RenderError
from proxy.definitions.templates.urls import in_header, placeholder_in_host
from proxy.oauth.client_auth import ASSERTED, Credentials, credentials
from proxy.oauth.material import Rendering

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.definitions.models import RequestOverride
    from proxy.definitions.templates.placeholders import TemplateMap, UrlTemplate
    from proxy.oauth.material import Material

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What goes to an authorization server. URL, headers and body may hold secrets, so they are not shown.

    `grant` is a `grant_type`, or what else is asked for: the label of the metric. `host_from_placeholder`: a value
    decided where it goes. The transport adds `Host`, `Content-Length` and `Connection`.
    """

    grant: str
    method: str
    url: str = field(repr=False)
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    host_from_placeholder: bool = False


def compose(
    material: Material,
    grant: str,
    endpoint: UrlTemplate | str | None,
    override: RequestOverride,
    fields: Pairs,
    *,
    assertion: str | None = None,
) -> TokenRequest:
    """Return a request with these default `fields`, changed as the operator says.

    `endpoint` is a URL of the definitions, or one of the server's metadata. `assertion` names the field that a fresh
    one goes into (RFC 7523 §2.1). Raises `RenderError`, also with the code `override_body_invalid`: a form has no place
    for nested values.
    """
    written = override.url or endpoint
    if written is None:
        raise RenderError("placeholder_unresolved", "neither the definitions nor the server's metadata name a URL")
    asserting = assertion is None and material.iclient.client_auth in ASSERTED
    rendering = Rendering(material, _known(endpoint), client=asserting)
    url = written if isinstance(written, str) else rendering.url(written)
    rendering.audience = url
    in_query = override.body_format == "query" or override.method in ("GET", "DELETE")
    as_json = override.body_format == "json" and not in_query

    content: dict[str, Any] = _collected(fields)
    if override.body is not None:
        content = _leaves(rendering, override.body, nested=as_json)
    elif assertion is not None:
        content[assertion] = material.reveal(rendering.assertion())
    headers = [(name, None if value is None else in_header(rendering.text(value))) for name, value in override.headers]
    own = credentials(
        material,
        rendering,
        named=None if override.body is None else frozenset(content),
        delivered=asserting and rendering.assertion_used,
    )
    content |= dict(own.fields)
    content |= _leaves(rendering, override.extra, nested=as_json)
    content = {name: value for name, value in content.items() if value is not None}
    media_type = None if in_query else JSON if as_json else FORM
    return TokenRequest(
        grant,
        override.method,
        with_query(url, tuple(_form(content))) if in_query else url,
        _headers(headers, own, media_type),
        b"" if in_query else _body(content, as_json=as_json),
        host_from_placeholder=not isinstance(written, str) and placeholder_in_host(written),
    )


def with_query(url: str, fields: Pairs) -> str:
    """Return the URL with these fields behind its own query, of which only fields of the same names go.

    Parameters are not repeated (RFC 6749 §3.1, §3.2).
    """
    if not fields:
        return url
    before, _, query = url.partition("?")
    names = {name for name, _ in fields}
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in names]
    return before + "?" + "&".join([*kept, urlencode(fields, quote_via=quote)])


def _known(endpoint: UrlTemplate | str | None) -> str | None:
    """Return where a request goes, so far as that is known before its URL is rendered."""
    if endpoint is None or isinstance(endpoint, str):
        return endpoint
    return endpoint.text if endpoint.plain else None


def _leaves(rendering: Rendering, written: TemplateMap, *, nested: bool) -> dict[str, Any]:
    """Return the fields that the operator wrote."""
    fields: dict[str, Any] = rendering.tree(written)
    for name, value in fields.items():
        if isinstance(value, dict | list) and not nested:
            raise RenderError("override_body_invalid", f"{name} holds nested values, which only body_format json can")
    return fields


def _collected(fields: Pairs) -> dict[str, Any]:
    """Return fields by name; one that is there several times holds a list."""
    content: dict[str, Any] = {}
    for name, value in fields:
        before = content.get(name)
        content[name] = value if before is None else [*before, value] if isinstance(before, list) else [before, value]
    return content


def _headers(written: Iterable[tuple[str, str | None]], own: Credentials, media_type: str | None) -> Pairs:
    headers = {"accept": ("Accept", JSON), "accept-encoding": ("Accept-Encoding", "identity")}
    if media_type is not None:
        headers["content-type"] = ("Content-Type", media_type)
    headers["user-agent"] = ("User-Agent", "iclient-proxy")
    if own.authorization is not None:
        headers["authorization"] = ("Authorization", own.authorization)
    for name, value in written:
        if value is None:
            headers.pop(name.lower(), None)
        else:
            headers[name.lower()] = (name, value)
    return tuple(headers.values())


def _body(content: Mapping[str, Any], *, as_json: bool) -> bytes:
    if as_json:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return urlencode(list(_form(content))).encode("ascii")


def _form(content: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield fields as a form has them: a list is a field that is repeated, numbers and booleans are as in JSON."""
    for name, value in content.items():
        for item in value if isinstance(value, list) else [value]:
            yield name, item if isinstance(item, str) else json.dumps(item)
