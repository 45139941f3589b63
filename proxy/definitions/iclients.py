"""iClients: their keys, which key goes with which grant, and where their secrets may be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions import domains
from proxy.definitions.auth_errors import AuthErrorsKind
from proxy.definitions.kinds import (
    PLACEHOLDER,
    Choice,
    Duration,
    Flag,
    Kind,
    RatioOrDuration,
    Text,
    scalar,
    without_placeholder,
)
from proxy.definitions.later import not_yet
from proxy.definitions.models import AuthErrors, IClient, SendTokenVia
from proxy.definitions.nodes import Node, Scalar, Sequence, described
from proxy.definitions.placement import SEND_TOKEN_VIA, send_token_via
from proxy.definitions.reading import UnreadableError
from proxy.definitions.shapes import Block, Fields, Key, ListOf
from proxy.definitions.tls import TLS, tls_of
from proxy.definitions.values import SecretValue, Value

if TYPE_CHECKING:
    from proxy.definitions.reading import Reading


@dataclass(frozen=True)
class Registration:
    """An iClient and what its connections inherit unless they write it themselves."""

    iclient: IClient
    send_token_via: SendTokenVia | None
    auth_errors: AuthErrors | None


@dataclass(frozen=True)
class Grant:
    """The keys that go with a grant; any other key of `GRANT_KEYS` has no effect with it."""

    required: frozenset[str]
    optional: frozenset[str]


# Columns of the matrix that have a key today, those of the connection among them.
CONNECTION_KEYS: Final = ("username", "password")
ICLIENT_KEYS: Final = ("token_url", "client_id", "client_secret", "scopes")
GRANTS: Final[dict[str, Grant]] = {
    "client_credentials": Grant(frozenset({"token_url"}), frozenset({"client_id", "client_secret", "scopes"})),
    "password": Grant(
        frozenset({"token_url", "username", "password"}), frozenset({"client_id", "client_secret", "scopes"})
    ),
}


@dataclass(frozen=True)
class UrlText(Kind[str]):
    """A URL as written; whether it may be used is decided where its domains are known."""

    def read(self, node: Node, reading: Reading) -> str:
        return scalar(node, reading, "a URL").text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://"}


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


def _path(text: str) -> tuple[str, str] | None:
    return (
        None
        if text.isprintable() and not text.startswith("/")
        else ("invalid_path", "a path is written with dots, as in data.access_token")
    )


ICLIENT: Final = Block(
    "iclient",
    {
        "client_id": Key(Value(), "Client ID."),
        "client_secret": Key(SecretValue(), "Client secret."),
        "grant_type": Key(Choice(tuple(GRANTS), "grant_type"), "Grant type."),
        "client_auth": Key(
            Choice(("client_secret_basic", "client_secret_post", "none"), "client_auth"),
            "How the client credentials are sent; client_secret_basic with a secret, else none.",
        ),
        "basic_encoding": Key(
            Choice(("form", "raw")), "RFC 6749 §2.3.1, or id and secret as they are.", default="form"
        ),
        "token_url": Key(UrlText(), "Access token URL."),
        "valid_domains": Key(DomainList(), "Domains that OAuth requests may go to; by default those of the URLs."),
        "scopes": Key(Words(), "Scopes: a list, or text split at the delimiter."),
        "scope_delimiter": Key(Text("a delimiter", empty=False), "What stands between scopes.", default=" "),
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
        "tls": Key(TLS, "TLS with the token endpoint."),
        "allow_insecure": Key(Flag(), "Allows http to exactly the hosts and ports in valid_domains.", default=False),
    },
)


def iclient(name: str, fields: Fields, reading: Reading) -> Registration | None:
    """Check an iClient as a whole and return it, None where it has a fault."""
    before = reading.refusals
    values = dict(fields.values)
    grant = values.get("grant_type")
    if "grant_type" not in fields:
        reading.fault(
            fields.node, "missing_key", f"grant_type is missing; write {' or '.join(GRANTS)}", fields.path("grant_type")
        )
    if grant is not None:
        check_grant(fields, ICLIENT_KEYS, grant, reading)
    client_auth = _client_auth(fields, reading)
    tls = tls_of(fields, reading)
    valid_domains = _valid_domains(fields, reading)
    placement = send_token_via(values["send_token_via"], reading) if "send_token_via" in values else None
    delimiter = values.get("scope_delimiter", " ")
    scopes = split_scopes(fields, delimiter, reading)
    if fields.broken or reading.refusals > before or grant is None:
        return None
    kept = {key: value for key, value in values.items() if key not in {"send_token_via", "auth_errors"}}
    if "keep_alive" in fields.node.entries and "keep_alive" not in fields:
        kept["keep_alive"] = None
    kept |= {"client_auth": client_auth, "tls": tls, "valid_domains": valid_domains, "scopes": scopes}
    kept |= {
        "token_url": str(domains.parse_url(values["token_url"])),
        "refresh_ahead_written": "refresh_ahead" in fields,
    }
    return Registration(IClient(name=name, **kept), placement, values.get("auth_errors"))


def check_grant(fields: Fields, keys: tuple[str, ...], grant: str, reading: Reading) -> None:
    """Fault where a key that the grant needs is missing or one is written that it makes no use of."""
    row = GRANTS[grant]
    for key in keys:
        if key in row.required and key not in fields:
            reading.fault(fields.node, "missing_key", f"grant_type {grant} needs {key}", fields.path(key))
        elif key not in row.required | row.optional and fields.own(key):
            reading.fault(fields.nodes[key], "no_effect", f"{key} has no effect with grant_type {grant}; remove it")


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


def _client_auth(fields: Fields, reading: Reading) -> str:
    written: str | None = fields.values.get("client_auth")
    default = "client_secret_basic" if "client_secret" in fields else "none"
    client_auth = written or default
    if "client_auth" in fields and written is None:
        return default
    if client_auth != "none":
        for key in ("client_id", "client_secret"):
            if key not in fields:
                reading.fault(fields.node, "missing_key", f"client_auth {client_auth} needs {key}", fields.path(key))
    elif fields.own("client_secret"):
        reading.fault(
            fields.nodes["client_secret"],
            "no_effect",
            "client_secret has no effect with client_auth none; remove one of them",
        )
    if client_auth != "client_secret_basic" and fields.own("basic_encoding"):
        reading.fault(
            fields.nodes["basic_encoding"],
            "no_effect",
            f"basic_encoding has no effect with client_auth {client_auth}; remove it",
        )
    return client_auth


def _valid_domains(fields: Fields, reading: Reading) -> tuple[str, ...]:
    """Check the OAuth URLs against `valid_domains`, or derive it from them."""
    text: str | None = fields.values.get("token_url")
    if text is None:
        return ()
    node = fields.nodes["token_url"]
    if PLACEHOLDER.search(text):
        if placeholder_in_host(text) and "valid_domains" not in fields:
            reading.fault(
                node,
                "valid_domains_required",
                "the host has a placeholder, so valid_domains has to say which hosts are meant",
            )
        else:
            reading.fault(node, "not_supported_yet", not_yet("a placeholder in braces"))
        return ()
    try:
        url = domains.parse_url(text)
        if "valid_domains" not in fields:
            written: tuple[str, ...] = (domains.entry_for(url),)
        elif "valid_domains" in fields.values:
            written = fields.values["valid_domains"]
        else:
            return ()
        domains.check_url(url, written, fields.values.get("allow_insecure") is True)
    except domains.DomainError as error:
        reading.fault(node, error.code, error.message)
        return ()
    if url.scheme == "http":
        reading.warn(node, "insecure_url", f"client credentials and tokens go to {url.authority} in clear")
    return written


def placeholder_in_host(url: str) -> bool:
    """Tell whether a placeholder stands before the path of a URL."""
    rest = url.split("://", 1)[-1]
    first = PLACEHOLDER.search(rest)
    return first is not None and not re.search(r"[/?#]", rest[: first.start()])
