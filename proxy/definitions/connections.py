"""Connections: their keys, what they inherit from their iClient, and the checks that need both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions import domains
from proxy.definitions.auth_errors import AuthErrorsKind, StatusRange
from proxy.definitions.grants import CONNECTION_KEYS, check_grant, goes_with, named
from proxy.definitions.iclients import ICLIENT, Registration, Words, iclient, split_scopes
from proxy.definitions.models import (
    AuthErrors,
    Connection,
    HeaderPlacement,
    Ping,
    Replay,
    Route,
    SendTokenVia,
    Timeouts,
)
from proxy.definitions.notation.kinds import Choice, Duration, Flag, Kind, Size, Text
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described, shown
from proxy.definitions.notation.shapes import INHERITED, Block, Fields, Key, ListOf
from proxy.definitions.notation.spelling import hint
from proxy.definitions.notation.values import SecretValue, Value
from proxy.definitions.params import check_params, resolved_params
from proxy.definitions.placement import SEND_TOKEN_VIA, TOKEN, send_token_via
from proxy.definitions.resolve import Bearings, check_registration, resolved_header, scope_of
from proxy.definitions.routes import ROUTE, path_fault
from proxy.definitions.templates.placeholders import references
from proxy.definitions.templates.templated import Header, Headers, MapOf, UrlText
from proxy.definitions.tls import TLS, tls_of
from proxy.definitions.upstream_url import base_url

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from proxy.definitions.expand import Chosen
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.templates.placeholders import Template, UrlTemplate

# Without an iClient there is no token, and these are about nothing else.
TOKEN_KEYS: Final = (
    "username", "password", "refresh_token", "scopes", "send_token_via", "auth_errors", "on_client_credential",
    "replay", "on_no_token", "required", "prefetch",
)  # fmt: skip


@dataclass(frozen=True)
class IClientRef(Kind["str | Fields"]):
    """The name of an iClient, or its mapping."""

    def read(self, node: Node, reading: Reading) -> str | Fields:
        if isinstance(node, Mapping):
            return ICLIENT.read(node, reading)
        if not isinstance(node, Scalar) or node.is_null:
            raise reading.refused(
                node, "wrong_type", f"expected the name of an iClient or its mapping, found {described(node)}"
            )
        return node.text

    def merge(self, under: Node, over: Node) -> Node:
        return ICLIENT.merge(under, over)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["string", "integer"]}, {"$ref": "#/$defs/iclient"}]}


def _method(text: str) -> tuple[str, str] | None:
    return None if TOKEN.fullmatch(text) else ("invalid_name", f"{shown(text)} is not a method")


def _ping_path(text: str) -> tuple[str, str] | None:
    path, _, query = text.partition("?")
    if any(not "\x21" <= char <= "\x7e" or char == "#" for char in query):
        return "invalid_path", "a query has visible ASCII characters only, and no fragment"
    return path_fault(path)


def _host_claim(text: str) -> tuple[str, str] | None:
    try:
        domains.canonical_host(text.removeprefix("*."))
    except domains.DomainError as error:
        return error.code, error.message
    return None


CONNECTION: Final = Block(
    {
        "iclient": Key(
            IClientRef(),
            "Name of an iClient, or an iClient written here; without one only headers are set.",
            nullable=True,
        ),
        "base_url": Key(UrlText(), "Where requests go."),
        "route": Key(ROUTE, "Where the reverse listener takes requests; false: nowhere."),
        "hosts": Key(
            ListOf(Text("a host", _host_claim)), "Hosts that the forward listener claims; by default that of base_url."
        ),
        "settings": Key(MapOf(Value()), "Values for placeholders."),
        "secrets": Key(MapOf(SecretValue()), "Secrets for placeholders."),
        "params": Key(MapOf(Value()), "Answers to what the preset of the iClient asks; they win over those there."),
        "username": Key(Value(), "User name of the password grant."),
        "password": Key(SecretValue(), "Password of the password grant."),
        "refresh_token": Key(SecretValue(), "Refresh token to begin with; another one here wins over the store."),
        "headers": Key(Headers(), "Headers set on every request; null removes one."),
        "scopes": Key(Words(), "Overrides those of the iClient."),
        "send_token_via": Key(SEND_TOKEN_VIA, "Overrides that of the iClient."),
        "auth_errors": Key(AuthErrorsKind(), "Overrides those of the iClient."),
        "on_client_credential": Key(
            Choice(("replace", "reject", "passthrough")),
            "What happens to a credential the application sends.",
            default="replace",
        ),
        "allowed_paths": Key(ListOf(Text("a path", path_fault)), "Paths that may be called; empty: all.", default=[]),
        "allowed_methods": Key(ListOf(Text("a method", _method)), "Methods that may be used; empty: all.", default=[]),
        "rewrite_location": Key(Flag(), "Rewrite Location and Content-Location to the route.", default=True),
        "replay": Key(
            Block(
                {
                    "methods": Key(
                        Choice(("all", "idempotent", "never")), "Requests that may be sent again.", default="all"
                    ),
                    "on_success_status": Key(
                        Choice(("all", "idempotent", "never")),
                        "The same where the refusal came as 2xx.",
                        default="idempotent",
                    ),
                    "body_limit": Key(Size(0, 64 * 1024**2), "Largest body that is kept for it.", default="256KiB"),
                },
            ),
            "When a request may be sent again after an auth error.",
        ),
        "timeouts": Key(
            Block(
                {
                    "connect": Key(Duration(), "Until the stream is open.", default="5s"),
                    "response": Key(
                        Duration(), "From the end of the request to the head of the response.", default="60s"
                    ),
                    "idle": Key(Duration(), "Between two pieces of a body.", default="300s"),
                },
            ),
            "How long the upstream may take.",
        ),
        "tls": Key(TLS, "TLS with the upstream."),
        "ping": Key(
            Block(
                {
                    "method": Key(Text("a method", _method), "Method.", default="GET"),
                    "path": Key(Text("a path", _ping_path), "Path under base_url, with its query.", default="/"),
                    "status": Key(ListOf(StatusRange(), one=True), "Statuses that are good.", default=["200-399"]),
                },
            ),
            "The request of `iclient-proxy ping`.",
        ),
        "on_no_token": Key(Choice(("fail", "passthrough")), "What happens while there is no token.", default="fail"),
        "required": Key(Flag(), "Readiness waits for the first token.", default=False),
        "prefetch": Key(Flag(), "Get the first token at start.", default=True),
        "allow_insecure": Key(Flag(), "Allows http to other machines, and verify: false.", default=False),
    },
    elsewhere=dict.fromkeys(ICLIENT.keys, "is a key of its iClient: write it below iclient"),
)


def connection(
    name: str, fields: Fields, found_route: Route | None, registration: Registration | None, reading: Reading
) -> Connection | None:
    """Check a connection as a whole and return it, None where it has a fault."""
    before = reading.refusals
    values = dict(fields.values)
    scopes: tuple[str, ...] = ()
    if registration is not None:
        delimiter = registration.iclient.scope_delimiter
        scopes = split_scopes(fields, delimiter, reading) if "scopes" in fields else registration.iclient.scopes
    known: dict[str, Any] = {key: values[key] for key in (*CONNECTION_KEYS, "settings", "secrets") if key in values}
    # Where a value that templates name can't be read, or the iClient has a fault, their paths say nothing.
    readable = all(key in values for key in (*CONNECTION_KEYS, "settings", "secrets", "params") if key in fields)
    headers: tuple[Header, ...] = values.get("headers", ())
    paths = _paths(values.get("base_url"), headers) | (registration.paths if registration else frozenset())
    chosen = registration.chosen if registration is not None else None
    if registration is not None or "iclient" not in fields:
        check_params(fields, chosen, paths, reading)
        known["params"] = resolved_params(
            fields, chosen, registration.params if registration is not None else (), paths, reading
        )
    draft = Connection(
        name=name, iclient=registration.iclient if registration else None, base_url="", scopes=scopes, **known
    )
    scope = scope_of(draft, registration)
    _check_used(fields, registration, paths, reading)
    if readable and registration is not None:
        at = fields.nodes["iclient"] if fields.own("iclient") else fields.node
        check_registration(registration, at, scope, reading)
    fits = readable and (registration is not None or "iclient" not in fields)
    grant = registration.iclient.grant_type if registration is not None else None
    bearings = Bearings(scope, grant, fields.node)
    url = base_url(fields, bearings if fits else None, reading)
    tls = tls_of(fields, reading)
    placement = SendTokenVia(header=HeaderPlacement())
    auth_errors = AuthErrors()
    if registration is not None:
        placement = registration.send_token_via or placement
        auth_errors = values.get("auth_errors") or registration.auth_errors or auth_errors
    if "send_token_via" in values:
        placement = send_token_via(values["send_token_via"], reading) or placement
    _check_token_header(fields, headers, placement, reading)
    kept = [header for header in headers if not _carries_token(header, placement, registration)]
    written = tuple((header.name, _resolved(header, bearings, reading) if fits else header.value) for header in kept)
    if fields.broken or reading.refusals > before or url is None:
        return None
    return Connection(
        name=name,
        iclient=draft.iclient,
        params=draft.params,
        base_url=url,
        route=found_route,
        hosts=_hosts(values, url),
        headers=written,
        scopes=scopes,
        send_token_via=placement,
        auth_errors=auth_errors,
        replay=Replay(**values["replay"].values) if "replay" in values else Replay(),
        timeouts=Timeouts(**values["timeouts"].values) if "timeouts" in values else Timeouts(),
        ping=Ping(**values["ping"].values) if "ping" in values else Ping(),
        tls=tls,
        **{key: values[key] for key in _PLAIN if key in values and (registration is not None or key not in TOKEN_KEYS)},
        **_credentials(values, registration, paths),
    )


def registration_of(
    name: str,
    fields: Fields,
    registrations: MappingOf[str, Registration | None],
    reading: Reading,
    *,
    complete: bool,
    chosen: Chosen | None = None,
) -> Registration | None:
    """Return the iClient of a connection, None where it has none or that has a fault.

    `registrations` has the iClients by name, None for one with a fault. `complete` is False where a file could not be
    read: what is missing may stand there. `chosen` is the provider that the connection's own iClient names.
    """
    written = fields.values.get("iclient")
    if written is None:
        return None
    if isinstance(written, Fields):
        return iclient(name, written, reading, chosen) if chosen is None or chosen.preset is not None else None
    if written not in registrations and complete:
        guess = hint(written, registrations) or (
            f"; defined are {', '.join(sorted(registrations)[:8])}"
            if registrations
            else "; none are defined: write one right here, iclient: {…}, or as an entry of iclients"
        )
        reading.fault(fields.nodes["iclient"], "unknown_iclient", f"there is no iClient {shown(written)}{guess}")
    return registrations.get(written)


_PLAIN: Final = (
    "settings", "secrets", "on_client_credential", "allowed_paths", "allowed_methods", "rewrite_location",
    "on_no_token", "required", "prefetch", "allow_insecure",
)  # fmt: skip


def _paths(url: UrlTemplate | None, headers: tuple[Header, ...]) -> frozenset[str]:
    """Return the paths that a connection's own templates name."""
    templates: list[Template | UrlTemplate] = [header.value for header in headers if header.value is not None]
    if url is not None:
        templates.append(url)
    return frozenset(reference.path for template in templates for reference in references(template))


def _check_used(fields: Fields, registration: Registration | None, paths: frozenset[str], reading: Reading) -> None:
    """Fault where a key is missing that the grant needs, or one is written that nothing makes use of."""
    if "iclient" not in fields:
        for key in TOKEN_KEYS:
            if fields.own(key) and not named(key, paths):
                reading.fault(fields.nodes[key], "no_effect", f"{key} has no effect without an iclient; remove it")
    elif registration is not None:
        grant = registration.iclient.grant_type
        check_grant(fields, CONNECTION_KEYS, grant, paths, reading)
        if not goes_with("scopes", grant) and fields.own("scopes") and not named("scopes", paths):
            message = f"scopes has no effect with grant_type {grant}; remove it"
            reading.fault(fields.nodes["scopes"], "no_effect", message)


def _check_token_header(fields: Fields, headers: tuple[Header, ...], placement: SendTokenVia, reading: Reading) -> None:
    if "iclient" not in fields or placement.header is None:
        return
    for header in headers:
        if header.name.lower() == placement.header.name.lower() and not header.node.path.startswith(INHERITED):
            reading.fault(
                header.node, "header_forbidden", f"{header.name} carries the token here; it can't be set as well"
            )


def _carries_token(header: Header, placement: SendTokenVia, registration: Registration | None) -> bool:
    """Tell whether a header that comes from `defaults` stands where this connection's token goes."""
    return (
        registration is not None
        and placement.header is not None
        and header.name.lower() == placement.header.name.lower()
    )


def _resolved(header: Header, bearings: Bearings, reading: Reading) -> Template | None:
    return None if header.value is None else resolved_header(header.node, header.value, bearings, reading)


def _credentials(values: dict[str, Any], registration: Registration | None, paths: frozenset[str]) -> dict[str, Any]:
    """User name, password and refresh token, where something makes use of them: defaults may name them for others."""
    return {
        key: values[key]
        for key in CONNECTION_KEYS
        if key in values
        and (named(key, paths) or (registration is not None and goes_with(key, registration.iclient.grant_type)))
    }


def _hosts(values: dict[str, Any], url: str | UrlTemplate) -> tuple[str, ...]:
    if "hosts" in values:
        return tuple(claim.lower() for claim in values["hosts"])
    if isinstance(url, str):
        return (domains.parse_url(url).host,)
    return (domains.canonical_host(url.host.text),) if url.origin is None and url.host.plain else ()
