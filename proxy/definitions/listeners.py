"""Where the proxy listens and who may call; a data listener open to others without a credential is a fault."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.definitions import domains
from proxy.definitions.keys.pem import MAX_BYTES, check_pair, check_roots, private_key
from proxy.definitions.notation.kinds import Kind, Text, scalar, without_placeholder
from proxy.definitions.notation.nodes import Node, Scalar, Sequence
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import Block, Fields, Key, ListOf, OnlyFalse, OrFalse
from proxy.definitions.notation.values import SecretValue, Value, file_path, file_text
from proxy.definitions.settings import (
    AdminListener,
    BasicCredential,
    Bind,
    ListenerAuth,
    Listeners,
    ListenerTls,
    ReverseListener,
    TcpBind,
    UnixBind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.notation.reading import Reading

T = TypeVar("T")
UNIX_PATH_BYTES: Final = 107  # sun_path has 108 with its NUL
_TCP: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]*):(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class BindKind(Kind[Bind]):
    """`127.0.0.1:7480`, `[::1]:7480`, `localhost:7480`, and `unix:/path` unless `tcp_only`."""

    tcp_only: bool = False

    def read(self, node: Node, reading: Reading) -> Bind:
        expected = "an address such as 127.0.0.1:7480" + ("" if self.tcp_only else " or unix:/path")
        text = without_placeholder(scalar(node, reading, expected), reading)
        if text.startswith("unix:") and not self.tcp_only:
            return UnixBind(path=_unix_path(node, text.removeprefix("unix:"), reading))
        found = _TCP.fullmatch(text)
        if found is None:
            advice = f"; write 127.0.0.1:{text}" if text.isdecimal() else ""
            raise reading.refused(node, "invalid_bind", f"expected {expected}{advice}")
        host, port = found[1].strip("[]"), int(found[2])
        if port > 65535:
            raise reading.refused(node, "out_of_range", f"port {port} is not between 0 and 65535")
        if not host or host == "*":
            raise reading.refused(node, "invalid_bind", f"write 0.0.0.0:{port} to listen on every address")
        if host != "localhost":
            try:
                host = str(ipaddress.ip_address(host))
            except ValueError:
                raise reading.refused(
                    node, "invalid_bind", f"expected {expected}; names other than localhost are not looked up"
                ) from None
        return TcpBind(host=host, port=port)

    def schema(self) -> dict[str, Any]:
        tcp = r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):[0-9]{1,5}"
        return {"type": "string", "pattern": f"^{tcp}$" if self.tcp_only else f"^({tcp}|unix:/.+)$"}


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
    "listener.tls",
    {
        "cert": Key(Text("the path of a PEM file"), "Path of the certificate chain (PEM).", required=True),
        "key": Key(Text("the path of a PEM file"), "Path of the private key (PEM).", required=True),
    },
)
LISTENER_AUTH: Final = Block(
    "listener.auth",
    {
        "bearer": Key(SecretValue(), "Callers send it as a bearer token."),
        "basic": Key(
            Block(
                "listener.basic",
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
    "listener.reverse",
    {
        "bind": Key(BindKind(), "Address or unix socket.", default="127.0.0.1:7480"),
        "allowed_hosts": Key(ListOf(HOST), "Further values of Host that are answered.", default=[]),
        "allow_origins": Key(ListOf(Text("an origin", _origin)), "Origins of web pages that may call.", default=[]),
        "auth": Key(LISTENER_AUTH, "Credential that callers need; required beyond loopback.", nullable=True),
        "tls": Key(LISTENER_TLS, "Certificate and key of this listener.", nullable=True),
    },
)
ADMIN: Final = Block(
    "listener.admin",
    {
        "bind": Key(BindKind(), "Address or unix socket.", default="127.0.0.1:7489"),
        "public_url": Key(Text("a URL", _public_url), "Under which browsers reach this listener.", nullable=True),
        "allowed_hosts": Key(ListOf(HOST), "Further values of Host that are answered.", default=[]),
        "auth": Key(SecretValue(), "Bearer token for callers that are not on this machine.", nullable=True),
    },
)
LISTENERS: Final = Block(
    "listeners",
    {
        "reverse": Key(
            OrFalse(OneOrMany(REVERSE)), "Where applications call routes; one listener or a list, false closes it."
        ),
        "forward": Key(OnlyFalse("the forward listener"), "The forward proxy."),
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
    return Listeners(reverse=reverse, admin=admin), binds


def _bind(fields: Fields, default: Bind) -> list[tuple[Bind, Node]]:
    """Return the bind of a written listener; none where it is at fault already."""
    if "bind" not in fields:
        return [(default, fields.node)]
    return [(fields.values["bind"], fields.nodes["bind"])] if "bind" in fields.values else []


def _unwritten(fields: Fields, key: str) -> Node:
    """Return a node that stands for a listener that is open by default."""
    return Scalar("", True, fields.node.place, fields.path(key))


def check_binds(binds: Iterable[tuple[Bind, Node]], reading: Reading) -> None:
    """Fault where two listeners want the same port or socket."""
    seen: list[tuple[Bind, Node]] = []
    for bind, node in binds:
        for other, where in seen:
            if _same(bind, other):
                place = where.place if where.place.line else "its default"
                reading.fault(node, "duplicate_bind", f"{bind_text(bind)} is taken already by {where.path} ({place})")
                break
        seen.append((bind, node))


def is_open(bind: Bind) -> bool:
    """Tell whether others than this machine can reach the bind."""
    return isinstance(bind, TcpBind) and not domains.is_loopback(bind.host)


def bind_text(bind: Bind) -> str:
    """Return the bind as the operator writes it."""
    if isinstance(bind, UnixBind):
        return f"unix:{bind.path}"
    return f"[{bind.host}]:{bind.port}" if ":" in bind.host else f"{bind.host}:{bind.port}"


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
            check_roots(node, file_text(node, path, reading, MAX_BYTES, secret=False).text, reading)
        except UnreadableError:
            return None
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
        cert=str(file_path(cert, paths["cert"], reading)), key=str(file_path(key, paths["key"], reading))
    )


def _unix_path(node: Node, path: str, reading: Reading) -> str:
    if not path.startswith("/"):
        raise reading.refused(
            node, "invalid_bind", "the path of a unix socket begins with /, as in unix:/run/iclient-proxy.sock"
        )
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise reading.refused(
            node,
            "out_of_range",
            f"the path of a unix socket has at most {UNIX_PATH_BYTES} bytes, this one has {len(path.encode())}",
        )
    return path


def _same(one: Bind, other: Bind) -> bool:
    if isinstance(one, UnixBind) or isinstance(other, UnixBind):
        return one == other
    if one.port != other.port or one.port == 0:
        return False
    hosts = {"127.0.0.1" if bind.host == "localhost" else bind.host for bind in (one, other)}
    if len(hosts) == 1:
        return True
    return "::" in hosts or ("0.0.0.0" in hosts and all("." in host for host in hosts))  # noqa: S104 a comparison, no bind
