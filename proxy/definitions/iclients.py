"""iClients: their keys, and what has to fit together in one before any connection is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.auth_errors import AuthErrorsKind
from proxy.definitions.client_auth import CHOICES, client_auth_of
from proxy.definitions.endpoints import (
    DomainList,
    Endpoint,
    Issuer,
    RedirectUrl,
    check_reserved,
    endpoints_of,
    valid_domains_of,
)
from proxy.definitions.grants import GRANTS, ICLIENT_KEYS, NAMED_BY, check_grant
from proxy.definitions.jwt import JWT, check_audience, jwt_of
from proxy.definitions.models import AuthErrors, IClient, SendTokenVia
from proxy.definitions.notation.kinds import Choice, Duration, Flag, Kind, RatioOrDuration, Text, without_placeholder
from proxy.definitions.notation.nodes import Node, Scalar, Sequence, described
from proxy.definitions.notation.shapes import Block, Fields, Key, ListOf, Nullable
from proxy.definitions.notation.values import SecretValue, Value
from proxy.definitions.params import Provider, check_params
from proxy.definitions.placement import SEND_TOKEN_VIA, send_token_via
from proxy.definitions.requests import PLACES, REQUEST, Override, check_credentials, override_of
from proxy.definitions.templates.permitted import Place, check_place
from proxy.definitions.templates.placeholders import Template, TemplateMap, references
from proxy.definitions.templates.templated import MapOf, TemplateValue, UrlText, child
from proxy.definitions.tls import TLS, tls_of
from proxy.definitions.token_exchange import TOKEN_EXCHANGE, token_exchange_of

if TYPE_CHECKING:
    from proxy.definitions.expand import Chosen
    from proxy.definitions.models import Jwt
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.params import Params
    from proxy.definitions.templates.placeholders import Tree, UrlTemplate


@dataclass(frozen=True, slots=True)
class Placed:
    """A template with the key it stands at and the place it has among the requests."""

    node: Node
    place: Place
    template: Template | TemplateMap | tuple[Tree, ...] | UrlTemplate


@dataclass(frozen=True)
class Registration:
    """An iClient and what its connections need to know beside: what they inherit, and its templates."""

    iclient: IClient
    node: Node
    send_token_via: SendTokenVia | None
    auth_errors: AuthErrors | None
    templates: tuple[Placed, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    paths: frozenset[str] = field(default_factory=frozenset)
    params: Params = ()
    chosen: Chosen | None = None


@dataclass(frozen=True)
class Words(Kind[tuple[str, ...] | str]):
    """A list, or text that is split later, when its delimiter is known."""

    def read(self, node: Node, reading: Reading) -> tuple[str, ...] | str:
        if isinstance(node, Sequence):
            return ListOf(Text("a scope")).read(node, reading)
        if not isinstance(node, Scalar) or node.is_null:
            raise reading.refused(node, "wrong_type", f"expected a list or text, found {described(node)}")
        return without_placeholder(node, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "array", "items": Text("a scope").schema()}, {"type": "string"}]}


def _path(text: str) -> tuple[str, str] | None:
    return (
        None
        if text.isprintable() and not text.startswith("/")
        else ("invalid_path", "a path is written with dots, as in data.access_token")
    )


ICLIENT: Final = Block(
    {
        "provider": Key(Provider(), "Preset that fills the keys here, and those of the connections that use it."),
        "api": Key(Text("the name of an API"), "Which of the provider's APIs is meant; by default its first."),
        "params": Key(MapOf(Value()), "Answers to what the preset asks; those of the connection win."),
        "client_id": Key(TemplateValue(), "Client ID."),
        "client_secret": Key(SecretValue(), "Client secret."),
        "grant_type": Key(Choice(tuple(GRANTS)), "Grant type."),
        "pkce": Key(Choice(("S256", "plain", "off")), "Code challenge method.", default="S256"),
        "client_auth": Key(
            Choice(CHOICES),
            "How the client says who it is; by default client_secret_basic with a secret, else none, "
            "and with jwt and client_credentials private_key_jwt or client_secret_jwt.",
        ),
        "basic_encoding": Key(
            Choice(("form", "raw")), "RFC 6749 §2.3.1, or id and secret as they are.", default="form"
        ),
        "issuer": Key(Issuer(), "Authorization server; its metadata name the URLs that are not written."),
        "authorization_url": Key(UrlText(), "Authorization URL."),
        "token_url": Key(UrlText(), "Access token URL."),
        "revocation_url": Key(UrlText(), "Revoke token URL."),
        "device_authorization_url": Key(UrlText(), "Device authorization URL (RFC 8628)."),
        "redirect_url": Key(RedirectUrl(), "Redirect URL; by default /oauth/callback/NAME of the admin listener."),
        "authorization_params": Key(
            MapOf(Nullable(TemplateValue())), "Parameters of the authorization request; null removes a default."
        ),
        "valid_domains": Key(DomainList(), "Domains that OAuth requests may go to; by default those of the URLs."),
        "scopes": Key(Words(), "Scopes: a list, or text split at the delimiter."),
        "scope_delimiter": Key(Text("a delimiter", empty=False), "What stands between scopes.", default=" "),
        "jwt": Key(JWT, "How assertions are signed."),
        "settings": Key(MapOf(Value()), "Values for placeholders."),
        "secrets": Key(MapOf(SecretValue()), "Secrets for placeholders."),
        "access_token_request": Key(REQUEST, "How the request for an access token differs from the default."),
        "refresh_token_request": Key(REQUEST, "How the request that refreshes differs from the default."),
        "revocation_request": Key(REQUEST, "How the request that revokes differs from the default."),
        "token_exchange": Key(TOKEN_EXCHANGE, "What is exchanged (RFC 8693)."),
        "access_token_path": Key(
            Text("a path", _path), "Where the answer has the access token.", default="access_token"
        ),
        "refresh_token_path": Key(
            Text("a path", _path), "Where the answer has the refresh token.", default="refresh_token"
        ),
        "expires_in_path": Key(Text("a path", _path), "Where the answer has the lifetime.", default="expires_in"),
        "expires_in_unit": Key(Choice(("s", "ms", "at")), "Seconds, milliseconds, or a point in time.", default="s"),
        "default_token_ttl": Key(Duration("1s", "8760h"), "Lifetime when the answer carries none.", nullable=True),
        "refresh_ahead": Key(RatioOrDuration(), "Renew when less than this is left.", default=0.4),
        "keep_alive": Key(
            Duration("1m", "8760h"), "Renew an idle grant this often; null: never.", nullable=True, default="24h"
        ),
        "send_token_via": Key(SEND_TOKEN_VIA, "Where the token goes in a request."),
        "auth_errors": Key(AuthErrorsKind(), "Which responses mean that the token is no good."),
        "tls": Key(TLS, "TLS with the authorization server."),
        "allow_insecure": Key(Flag(), "Allows http to exactly the hosts and ports in valid_domains.", default=False),
    },
)

# Read as a whole or belonging to `Registration`.
_APART: Final = frozenset(
    {"provider", "api", "params", "send_token_via", "auth_errors", "jwt", "token_exchange", *PLACES}
)


def iclient(name: str, fields: Fields, reading: Reading, chosen: Chosen | None = None) -> Registration | None:
    """Check an iClient as a whole and return it, None where it has a fault; `chosen` is the provider that it names."""
    before = reading.refusals
    values = dict(fields.values)
    grant: Any = values.get("grant_type")
    if "grant_type" not in fields:
        reading.fault(
            fields.node, "missing_key", f"grant_type is missing; write one of {', '.join(GRANTS)}",
            fields.path("grant_type"),
        )  # fmt: skip
    jwt = jwt_of(fields, reading)
    exchange = token_exchange_of(fields, reading)
    overrides = {key: override for key in PLACES if (override := override_of(key, fields, reading)) is not None}
    templates = _templates(fields, jwt, overrides)
    endpoints = endpoints_of(fields, overrides.values())
    paths = frozenset(reference.path for placed in templates for reference in references(placed.template))
    if ("jwt" in fields and jwt is None) or any(key in fields and key not in overrides for key in PLACES):
        # What can't be read may name anything: no key is said to be without effect.
        paths |= {path for known in NAMED_BY.values() for path in known}
    if grant is not None:
        check_grant(fields, ICLIENT_KEYS, grant, paths, reading, issuer="issuer" in fields)
        _check_known(templates, grant, reading)
    _check_revocation(fields, grant, reading)
    check_params(fields, chosen, paths, reading)
    client_auth = client_auth_of(fields, grant, jwt, paths, reading)
    for override in overrides.values():
        check_credentials(override, client_auth, reading)
    check_reserved(fields, reading)
    for placed in templates:
        for code, message in check_place(placed.template, placed.place):
            reading.fault(placed.node, code, message)
    tls = tls_of(fields, reading)
    valid_domains = valid_domains_of(fields, endpoints, reading)
    if jwt is not None and grant != "self_signed_jwt":
        check_audience(fields, jwt, valid_domains, reading)
    placement = send_token_via(values["send_token_via"], reading) if "send_token_via" in values else None
    scopes = split_scopes(fields, values.get("scope_delimiter", " "), reading)
    if fields.broken or reading.refusals > before or grant is None:
        return None
    kept = {key: value for key, value in values.items() if key not in _APART}
    if "keep_alive" in fields.node.entries and "keep_alive" not in fields:
        kept["keep_alive"] = None
    kept |= {"client_auth": client_auth, "tls": tls, "valid_domains": valid_domains, "scopes": scopes}
    kept |= {key: override.value for key, override in overrides.items()}
    kept |= {"jwt": jwt, "token_exchange": exchange, "refresh_ahead_written": "refresh_ahead" in fields}
    return Registration(
        IClient(name=name, **kept),
        fields.nodes.get("redirect_url", fields.node),
        placement,
        values.get("auth_errors"),
        templates,
        endpoints,
        paths,
        values.get("params", ()),
        chosen,
    )


def split_scopes(fields: Fields, delimiter: str, reading: Reading) -> tuple[str, ...]:
    """Return the scopes of an iClient or a connection."""
    written = fields.values.get("scopes", ())
    scopes = (
        tuple(part.strip() for part in written.split(delimiter) if part.strip())
        if isinstance(written, str)
        else written
    )
    for scope in scopes:
        if not re.fullmatch(r"[\x20-\x7e]+", scope) or delimiter in scope:
            reading.fault(
                fields.nodes["scopes"],
                "invalid_scope",
                "a scope has only visible ASCII characters, and not the delimiter",
            )
            break
    return scopes


_PLACED: Final = {
    "client_id": Place.CLIENT_ID,
    "authorization_url": Place.AUTHORIZATION_URL,
    "token_url": Place.TOKEN_URL,
    "revocation_url": Place.REVOCATION_URL,
    "device_authorization_url": Place.DEVICE_AUTHORIZATION_URL,
    "redirect_url": Place.REDIRECT_URL,
}


def _templates(fields: Fields, jwt: Jwt | None, overrides: dict[str, Override]) -> tuple[Placed, ...]:
    """Return every template of an iClient that could be read, one for each leaf at its top level."""
    found = [
        Placed(fields.nodes[key], place, fields.values[key]) for key, place in _PLACED.items() if key in fields.values
    ]
    for name, template in fields.values.get("authorization_params", ()):
        if template is not None:
            found.append(
                Placed(child(fields.nodes["authorization_params"], name), Place.AUTHORIZATION_PARAMS, template)
            )
    if jwt is not None and jwt.token is None:
        block: Fields = fields.values["jwt"]
        for key, claims in (("payload", jwt.payload), ("header", jwt.header)):
            found += _leaves(block.values.get(key), claims, Place.JWT)
    for override in overrides.values():
        nodes, value = override.fields.nodes, override.value
        if value.url is not None:
            found.append(Placed(nodes["url"], override.place, value.url))
        for header in override.fields.values.get("headers", ()):
            if header.value is not None:
                found.append(Placed(header.node, override.place, header.value))
        for key, content in (("body", value.body), ("extra", value.extra)):
            found += _leaves(override.fields.values.get(key), content, override.place)
    return tuple(found)


def _leaves(node: Node | None, content: TemplateMap | None, place: Place) -> list[Placed]:
    if node is None or content is None:
        return []
    return [
        Placed(child(node, name), place, leaf)
        for name, leaf in content.entries
        if isinstance(leaf, Template | TemplateMap | tuple)
    ]


def _check_known(templates: tuple[Placed, ...], grant: str, reading: Reading) -> None:
    """Fault where a template names what only the authorization code grant brings."""
    if grant == "authorization_code":
        return
    for placed in templates:
        for reference in references(placed.template):
            if reference.steps[0] == "authorization" or reference.steps[:2] == ("connection", "callback"):
                message = f"{reference.path} is known only with grant_type authorization_code"
                reading.fault(placed.node, "placeholder_unresolved", message)


def _check_revocation(fields: Fields, grant: str | None, reading: Reading) -> None:
    """Fault where a revocation request is described that goes nowhere."""
    block: Fields | None = fields.values.get("revocation_request")
    if block is None or grant == "self_signed_jwt" or "url" in block:
        return
    if fields.own("revocation_request") and "revocation_url" not in fields and "issuer" not in fields:
        reading.fault(
            fields.nodes["revocation_request"],
            "no_effect",
            "revocation_request has no effect without revocation_url; write where it goes, or remove it",
        )
