"""Connections: their keys, what they inherit from their iClient, and the checks that need both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions import domains
from proxy.definitions.auth_errors import AuthErrorsKind
from proxy.definitions.iclients import (
    CONNECTION_KEYS,
    ICLIENT,
    Registration,
    UrlText,
    Words,
    check_grant,
    iclient,
    split_scopes,
)
from proxy.definitions.kinds import PLACEHOLDER, Choice, Duration, Flag, Kind, Size, Text, scalar
from proxy.definitions.later import not_yet
from proxy.definitions.models import AuthErrors, Connection, HeaderPlacement, Replay, Route, SendTokenVia, Timeouts
from proxy.definitions.nodes import Mapping, Node, Scalar, described, shown
from proxy.definitions.placement import SEND_TOKEN_VIA, TOKEN, Header, Headers, send_token_via
from proxy.definitions.routes import ROUTE, path_fault
from proxy.definitions.shapes import Block, Fields, Key, ListOf
from proxy.definitions.spelling import hint
from proxy.definitions.tls import TLS, may_be_insecure, tls_of
from proxy.definitions.values import SecretValue, Value

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from proxy.definitions.reading import Reading

# Without an iClient there is no token, and these are about nothing else.
TOKEN_KEYS: Final = (
    "username", "password", "scopes", "send_token_via", "auth_errors", "on_client_credential", "replay",
    "on_no_token", "required", "prefetch",
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


def _host_claim(text: str) -> tuple[str, str] | None:
    try:
        domains.canonical_host(text.removeprefix("*."))
    except domains.DomainError as error:
        return error.code, error.message
    return None


CONNECTION: Final = Block(
    "connection",
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
        "username": Key(Value(), "User name of the password grant."),
        "password": Key(SecretValue(), "Password of the password grant."),
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
                "replay",
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
                "timeouts",
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
        "on_no_token": Key(Choice(("fail", "passthrough")), "What happens while there is no token.", default="fail"),
        "required": Key(Flag(), "Readiness waits for the first token.", default=False),
        "prefetch": Key(Flag(), "Get the first token at start.", default=True),
        "allow_insecure": Key(Flag(), "Allows http to other machines, and verify: false.", default=False),
    },
)


def connection(
    name: str,
    fields: Fields,
    found_route: Route | None,
    registrations: MappingOf[str, Registration | None],
    reading: Reading,
    *,
    complete: bool,
) -> Connection | None:
    """Check a connection as a whole and return it, None where it has a fault.

    `registrations` has the iClients by name, None for one with a fault. `complete` is False where a file could not be
    read: what is missing may stand there.
    """
    before = reading.refusals
    registration = _registration(name, fields, registrations, reading, complete=complete)
    values = dict(fields.values)
    url = _base_url(fields, reading)
    tls = tls_of(fields, reading)
    if "iclient" not in fields:
        for key in TOKEN_KEYS:
            if fields.own(key):
                reading.fault(fields.nodes[key], "no_effect", f"{key} has no effect without an iclient; remove it")
    placement = SendTokenVia(header=HeaderPlacement())
    scopes: tuple[str, ...] = ()
    auth_errors = AuthErrors()
    if registration is not None:
        check_grant(fields, CONNECTION_KEYS, registration.iclient.grant_type, reading)
        delimiter = registration.iclient.scope_delimiter
        scopes = split_scopes(fields, delimiter, reading) if "scopes" in fields else registration.iclient.scopes
        placement = registration.send_token_via or placement
        auth_errors = values.get("auth_errors") or registration.auth_errors or auth_errors
    if "send_token_via" in values:
        placement = send_token_via(values["send_token_via"], reading) or placement
    headers: tuple[Header, ...] = values.get("headers", ())
    if "iclient" in fields and placement.header is not None:
        for header in headers:
            if header.name.lower() == placement.header.name.lower() and not header.node.path.startswith("defaults."):
                reading.fault(
                    header.node, "header_forbidden", f"{header.name} carries the token here; it can't be set as well"
                )
    if fields.broken or reading.refusals > before or url is None:
        return None
    return Connection(
        name=name,
        iclient=registration.iclient if registration else None,
        base_url=str(url) if url.path_and_query != "/" else str(url).removesuffix("/"),
        route=found_route,
        hosts=tuple(claim.lower() for claim in values["hosts"]) if "hosts" in values else (url.host,),
        headers=tuple(
            (header.name, header.value) for header in headers if not _carries_token(header, placement, registration)
        ),
        scopes=scopes,
        send_token_via=placement,
        auth_errors=auth_errors,
        replay=Replay(**values["replay"].values) if "replay" in values else Replay(),
        timeouts=Timeouts(**values["timeouts"].values) if "timeouts" in values else Timeouts(),
        tls=tls,
        **{key: values[key] for key in _PLAIN if key in values and (registration is not None or key not in TOKEN_KEYS)},
        **_credentials(values, registration),
    )


_PLAIN: Final = (
    "on_client_credential", "allowed_paths", "allowed_methods", "rewrite_location", "on_no_token",
    "required", "prefetch", "allow_insecure",
)  # fmt: skip


def _carries_token(header: Header, placement: SendTokenVia, registration: Registration | None) -> bool:
    """Tell whether a header that comes from `defaults` stands where this connection's token goes."""
    return (
        registration is not None
        and placement.header is not None
        and header.name.lower() == placement.header.name.lower()
    )


def _credentials(values: dict[str, Any], registration: Registration | None) -> dict[str, Any]:
    """User name and password, where the grant makes use of them: defaults may name them for others."""
    uses = registration is not None and registration.iclient.grant_type == "password"
    return {key: values[key] for key in CONNECTION_KEYS if key in values} if uses else {}


def _registration(
    name: str, fields: Fields, registrations: MappingOf[str, Registration | None], reading: Reading, *, complete: bool
) -> Registration | None:
    written = fields.values.get("iclient")
    if written is None:
        return None
    if isinstance(written, Fields):
        return iclient(name, written, reading)
    if written not in registrations and complete:
        guess = hint(written, registrations) or (
            f"; defined are {', '.join(sorted(registrations)[:8])}" if registrations else ""
        )
        reading.fault(fields.nodes["iclient"], "unknown_iclient", f"there is no iClient {shown(written)}{guess}")
    return registrations.get(written)


def _base_url(fields: Fields, reading: Reading) -> domains.OAuthUrl | None:
    """Check `base_url` and return it taken apart."""
    if "base_url" not in fields:
        reading.fault(
            fields.node,
            "missing_key",
            "base_url is missing; write where requests go, as in https://api.example.com",
            fields.path("base_url"),
        )
        return None
    if "base_url" not in fields.values:
        return None
    node = scalar(fields.nodes["base_url"], reading, "a URL")
    if PLACEHOLDER.search(node.text):
        reading.fault(node, "not_supported_yet", not_yet("a placeholder in braces"))
        return None
    try:
        url = domains.parse_url(node.text)
    except domains.DomainError as error:
        reading.fault(node, error.code, error.message)
        return None
    if "?" in url.path_and_query:
        reading.fault(node, "invalid_url", "base_url has no query; write it in the requests")
    elif (wrong := path_fault(url.path_and_query)) is not None:
        reading.fault(node, *wrong)
    elif domains.is_metadata(url.host):
        reading.fault(node, "metadata_address", f"{url.host} is a metadata or link-local address; it is refused always")
    elif url.scheme == "http" and not domains.is_loopback(url.host):
        if may_be_insecure(fields):
            reading.warn(node, "insecure_url", f"requests and tokens go to {url.authority} in clear")
        else:
            message = "http sends the token in clear; use https, or set allow_insecure: true on this connection"
            reading.fault(node, "insecure_url", message)
    return url
