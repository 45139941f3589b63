"""Where the proxy listens and who may call; a data listener open to others without a credential is a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.definitions import domains
from proxy.definitions.binds import BindKind, bind_text, is_open
from proxy.definitions.forward import FORWARD, forward
from proxy.definitions.keys.pem import MAX_BYTES, check_pair, check_roots, private_key
from proxy.definitions.notation.kinds import Kind, Text
from proxy.definitions.notation.nodes import Node, Scalar, Sequence
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import Block, Fields, Key, ListOf, OrFalse
from proxy.definitions.notation.values import SecretValue, Value, file_path, file_text
from proxy.definitions.settings import (
    AdminListener,
    BasicCredential,
    Bind,
    ForwardListener,
    ListenerAuth,
    Listeners,
    ListenerTls,
    ReverseListener,
)

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

T = TypeVar("T")


@dataclass(frozen=True)
class OneOrMany(Kind[tuple[T, ...]]):
    """One of a kind, or a list of them."""

    item: Kind[T]

    def read(self, node: Node, reading: Reading) -> tuple[T, ...]:
        return ListOf(self.item).read(node, reading) if isinstance(node, Sequence) else (self.item.read(node, reading),)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(), {"type": "array", "items": self.item.schema()}]}


def _host(text: str) -> tuple[str, str] | None:
    try:
        domains.canonical_host(text)
    except domains.DomainError as error:
        return error.code, f"{error.message}; write the host alone, ports are not compared"
    return None


def _origin(text: str) -> tuple[str, str] | None:
    try:
        url = domains.parse_url(text)
    except domains.DomainError as error:
        return error.code, error.message
    plain = url.path_and_query == "/" and not text.endswith("/")
    return None if plain else ("invalid_url", "an origin has no path; write https://app.example.com")


def _public_url(text: str) -> tuple[str, str] | None:
    try:
        url = domains.parse_url(text)
    except domains.DomainError as error:
        return error.code, error.message
    return ("invalid_url", "a query has no place here") if "?" in url.path_and_query else None


HOST: Final = Text("a host", _host)
LISTENER_TLS: Final = Block(
    {
        "cert": Key(Text("the path of a PEM file"), "Path of the certificate chain (PEM).", required=True),
        "key": Key(Text("the path of a PEM file"), "Path of the private key (PEM).", required=True),
    },
)
LISTENER_AUTH: Final = Block(
    {
        "bearer": Key(SecretValue(), "Callers send it as a bearer token."),
        "basic": Key(
            Block(
                {
                    "username": Key(Value(), "The user name.", required=True),
                    "password": Key(SecretValue(), "The password.", required=True),
                },
            ),
            "Callers send user name and password.",
        ),
        "client_ca": Key(
            Text("the path of a PEM file"), "Path of the authority whose client certificates are let in (PEM)."
        ),
    },
    exclusive=True,
)
REVERSE: Final = Block(
    {
        "bind": Key(BindKind(), "Address or unix socket.", default="127.0.0.1:7480"),
        "allowed_hosts": Key(ListOf(HOST), "Further values of Host that are answered.", default=[]),
        "allow_origins": Key(ListOf(Text("an origin", _origin)), "Origins of web pages that may call.", default=[]),
        "auth": Key(LISTENER_AUTH, "Credential that callers need; required beyond loopback.", nullable=True),
        "tls": Key(LISTENER_TLS, "Certificate and key of this listener.", nullable=True),
    },
)
ADMIN: Final = Block(
    {
        "bind": Key(BindKind(), "Address or unix socket.", default="127.0.0.1:7489"),
        "public_url": Key(Text("a URL", _public_url), "Under which browsers reach this listener.", nullable=True),
        "allowed_hosts": Key(ListOf(HOST), "Further values of Host that are answered.", default=[]),
        "auth": Key(SecretValue(), "Bearer token for callers that are not on this machine.", nullable=True),
    },
)
LISTENERS: Final = Block(
    {
        "reverse": Key(
            OrFalse(OneOrMany(REVERSE)), "Where applications call routes; one listener or a list, false closes it."
        ),
        "forward": Key(OrFalse(FORWARD), "The forward proxy, for applications with HTTP_PROXY; closed unless named."),
        "admin": Key(OrFalse(ADMIN), "Health, metrics and status; false closes it."),
    },
)


def listeners(fields: Fields, reading: Reading) -> tuple[Listeners, list[tuple[Bind, Node]]]:
    """Return the listeners as written, and each written or default bind with the node a fault about it points at."""
    written: tuple[Fields, ...] | None = (fields.values.get("reverse") or ()) if "reverse" in fields else None
    reverse = (ReverseListener(),) if written is None else tuple(_reverse(one, reading) for one in written)
    admin: AdminListener | None = AdminListener()
    block: Fields | None = fields.values.get("admin")
    if "admin" in fields:
        admin = None if block is None else AdminListener(**block.values)
    binds = [(one.bind, _unwritten(fields, "reverse")) for one in reverse] if written is None else []
    for one in written or ():
        binds += _bind(one, ReverseListener().bind)
    if block is not None:
        binds += _bind(block, AdminListener().bind)
    elif admin is not None:
        binds.append((admin.bind, _unwritten(fields, "admin")))
    block = fields.values.get("forward")
    if block is not None:
        binds += _bind(block, ForwardListener().bind)
    proxy = forward(block, reading) if block is not None else None
    return Listeners(reverse=reverse, forward=proxy, admin=admin), binds


def _bind(fields: Fields, default: Bind) -> list[tuple[Bind, Node]]:
    """Return the bind of a written listener; none where it is at fault already."""
    if "bind" not in fields:
        return [(default, fields.node)]
    return [(fields.values["bind"], fields.nodes["bind"])] if "bind" in fields.values else []


def _unwritten(fields: Fields, key: str) -> Node:
    """Return a node that stands for a listener that is open by default."""
    return Scalar("", True, fields.node.place, fields.path(key))


def _reverse(fields: Fields, reading: Reading) -> ReverseListener:
    values = dict(fields.values)
    tls = values.pop("tls", None)
    auth = values.pop("auth", None)
    listener = ReverseListener(
        **values, tls=_tls(tls, reading) if tls else None, auth=_auth(auth, reading) if auth else None
    )
    if is_open(listener.bind) and "auth" not in fields:
        reading.fault(
            fields.nodes.get("bind", fields.node),
            "listener_open",
            f"{bind_text(listener.bind)} can be reached from other machines: add auth, or bind 127.0.0.1",
        )
    if listener.auth is not None and listener.auth.client_ca is not None and "tls" not in fields:
        reading.fault(fields.nodes["auth"], "client_ca_needs_tls", "client_ca needs tls: {cert, key} on this listener")
    return listener


def _auth(fields: Fields, reading: Reading) -> ListenerAuth | None:
    if len(fields.nodes) != 1:
        reading.fault(fields.node, "exactly_one", "write exactly one of bearer, basic and client_ca")
        return None
    values = dict(fields.values)
    if (basic := values.get("basic")) is not None:
        values["basic"] = None if basic.broken else BasicCredential(**basic.values)
    if (path := values.get("client_ca")) is not None:
        node = fields.nodes["client_ca"]
        try:
            roots = file_text(node, path, reading, MAX_BYTES, secret=False).text
        except UnreadableError:
            return None
        check_roots(node, roots, reading)
        values["client_roots"] = roots
        values["client_ca"] = str(file_path(node, path, reading))
    return ListenerAuth(**values)


def _tls(fields: Fields, reading: Reading) -> ListenerTls | None:
    if fields.broken:
        return None
    cert, key = fields.nodes["cert"], fields.nodes["key"]
    paths = fields.values
    try:
        certificate = file_text(cert, paths["cert"], reading, MAX_BYTES, secret=False).text
        private = private_key(key, file_text(key, paths["key"], reading, MAX_BYTES).text, reading)
    except UnreadableError:
        return None
    check_pair(cert, certificate, key, private.public, reading)
    return ListenerTls(
        cert=str(file_path(cert, paths["cert"], reading)),
        key=str(file_path(key, paths["key"], reading)),
        chain=certificate,
        private=private.pem,
    )
