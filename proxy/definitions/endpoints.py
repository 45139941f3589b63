"""The URLs of an iClient and `valid_domains`: what is known of them before any connection is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from proxy.definitions import domains
from proxy.definitions.notation.kinds import Kind, scalar, without_placeholder
from proxy.definitions.notation.nodes import Node, Sequence, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.templates.permitted import Place
from proxy.definitions.templates.placeholders import Template
from proxy.definitions.templates.templated import TemplateValue, child
from proxy.definitions.templates.urls import compile_url, placeholder_in_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields
    from proxy.definitions.requests import Override
    from proxy.definitions.templates.placeholders import UrlTemplate

URLS: Final = {
    "authorization_url": Place.AUTHORIZATION_URL,
    "token_url": Place.TOKEN_URL,
    "revocation_url": Place.REVOCATION_URL,
    "device_authorization_url": Place.DEVICE_AUTHORIZATION_URL,
}
# Each authorization request has its own of these: a fixed one would undo what they are for.
_RESERVED: Final = frozenset(
    {"state", "code_challenge", "code_challenge_method", "redirect_uri", "client_id", "response_type"}
)
# Some servers call them otherwise or have them from the registration.
_REMOVABLE: Final = frozenset({"redirect_uri", "client_id", "response_type"})
CALLBACK_CODE: Final = "callback_code"


@dataclass(frozen=True)
class Issuer(Kind[str]):
    """The URL of an authorization server as its metadata and `iss` have it, character by character (RFC 8414 §2)."""

    def read(self, node: Node, reading: Reading) -> str:
        text = without_placeholder(scalar(node, reading, "a URL"), reading)
        try:
            url = domains.parse_url(text)
        except domains.DomainError as error:
            raise reading.refused(node, error.code, error.message) from None
        if "?" in url.path_and_query:
            raise reading.refused(node, "invalid_url", "an issuer has no query (RFC 8414 §2)")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://"}


@dataclass(frozen=True)
class RedirectUrl(Kind[Template]):
    """Where the browser comes back to: any text that the authorization server knows."""

    def read(self, node: Node, reading: Reading) -> Template:
        template = TemplateValue().read(node, reading)
        text = "".join(piece if isinstance(piece, str) else "x" for piece in template.pieces)
        if not re.fullmatch(r"[\x21-\x7e]+", text):
            raise reading.refused(node, "invalid_url", "a redirect URL has visible ASCII characters only")
        if "#" in text:
            raise reading.refused(
                node, "fragment_forbidden", "a redirect URL has no fragment (RFC 6749 §3.1.2); remove the #"
            )
        return template

    def schema(self) -> dict[str, Any]:
        return TemplateValue().schema()


@dataclass(frozen=True)
class DomainList(Kind[tuple[str, ...]]):
    """`valid_domains`: a list, or text with commas; every entry is checked where it stands."""

    def read(self, node: Node, reading: Reading) -> tuple[str, ...]:
        entries: list[tuple[str, Node]]
        if isinstance(node, Sequence):
            entries = [(without_placeholder(scalar(item, reading, "a domain"), reading), item) for item in node.items]
        else:
            text = without_placeholder(scalar(node, reading, "a list of domains"), reading)
            entries = [(part.strip(), node) for part in text.split(",")]
        if not entries:
            raise reading.refused(
                node,
                "valid_domain_invalid",
                "the list is empty, so no request would be allowed; remove it for the default",
            )
        broken = False
        for entry, where in entries:
            try:
                domains.parse_valid_domain(entry)
            except domains.DomainError as error:
                reading.fault(where, error.code, error.message)
                broken = True
        if broken:
            raise UnreadableError
        return tuple(entry for entry, _ in entries)

    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string", "minLength": 1}]
        }


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL of an iClient, where it stands and where its values may come from."""

    node: Node
    place: Place
    url: UrlTemplate


def endpoints_of(fields: Fields, overrides: Iterable[Override]) -> tuple[Endpoint, ...]:
    """Return every URL of an iClient that requests or browsers are sent to, but for `issuer`."""
    written = [
        Endpoint(fields.nodes[key], place, fields.values[key]) for key, place in URLS.items() if key in fields.values
    ]
    written += [
        Endpoint(override.fields.nodes["url"], override.place, override.value.url)
        for override in overrides
        if override.value.url is not None
    ]
    return tuple(written)


def valid_domains_of(fields: Fields, endpoints: tuple[Endpoint, ...], reading: Reading) -> tuple[str, ...]:
    """Check the URLs against `valid_domains`, or derive it from those without a placeholder in their host."""
    known: list[tuple[Node, domains.OAuthUrl]] = []
    for endpoint in endpoints:
        if endpoint.url.origin is not None:
            continue  # `permitted` refuses it, since its host may be any
        if placeholder_in_host(endpoint.url):
            if "valid_domains" not in fields:
                message = "the host has a placeholder, so valid_domains has to say which hosts are meant"
                reading.fault(endpoint.node, "valid_domains_required", message)
        else:
            known.append((endpoint.node, _host_of(endpoint.url)))
    if "issuer" in fields.values:
        known.append((fields.nodes["issuer"], domains.parse_url(fields.values["issuer"])))
    if "valid_domains" not in fields:
        written = tuple(dict.fromkeys(domains.entry_for(url) for _, url in known))
    elif "valid_domains" in fields.values:
        written = fields.values["valid_domains"]
    else:
        return ()
    clear: list[Node] = []
    for node, url in known:
        try:
            domains.check_url(url, written, fields.values.get("allow_insecure") is True)
        except domains.DomainError as error:
            reading.fault(node, error.code, error.message)
            continue
        if url.scheme == "http":
            if not clear:
                reading.warn(node, "insecure_url", f"client credentials and tokens go to {url.authority} in clear")
            clear.append(node)
    return written


def check_reserved(fields: Fields, reading: Reading) -> None:
    """Fault where the authorization request would carry fixed values of what is different each time."""
    url: UrlTemplate | None = fields.values.get("authorization_url")
    query = "".join(piece if isinstance(piece, str) else "x" for piece in url.query.pieces) if url and url.query else ""
    for name in dict.fromkeys(name for name, _ in parse_qsl(query, keep_blank_values=True)):
        if name in _RESERVED or (name == "scope" and "scopes" in fields):
            reading.fault(
                fields.nodes["authorization_url"],
                "reserved_parameter",
                f"the query has {name}, which the proxy sets itself; remove it",
            )
    params: tuple[tuple[str, Template | None], ...] = fields.values.get("authorization_params", ())
    for name, template in params:
        node = child(fields.nodes["authorization_params"], name)
        if name == CALLBACK_CODE:
            if template is None or not template.plain:
                reading.fault(node, "wrong_type", f"{CALLBACK_CODE} is the name of a parameter, as in auth_code")
        elif name in _RESERVED and not (template is None and name in _REMOVABLE):
            remedy = "write pkce: off" if template is None and name != "state" else "remove it"
            reading.fault(node, "reserved_parameter", f"{shown(name)} is set by the proxy itself; {remedy}")


def _host_of(url: UrlTemplate) -> domains.OAuthUrl:
    """Return a URL whose host is known, without its path and query."""
    port = f":{url.port}" if url.port is not None else ""
    return domains.parse_url(f"{url.scheme}://{url.host.text}{port}")


def known_host(url: UrlTemplate) -> UrlTemplate:
    """Return a URL cut behind its host, for a check of that alone."""
    port = f":{url.port}" if url.port is not None else ""
    return compile_url(f"{url.scheme}://{url.host.text}{port}")
