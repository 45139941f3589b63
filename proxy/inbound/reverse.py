"""The rules of the reverse listener: whose request is it, and may this caller make it? Pure."""

from __future__ import annotations

import base64
import hmac
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.names import line_name_and_value
from proxy.wire.request import HOST, host_name

if TYPE_CHECKING:
    from proxy.definitions.settings import ListenerAuth
    from proxy.exchange.plan import Plan
    from proxy.exchange.route import RouteTable
    from proxy.inbound.rules import Peer
    from proxy.wire.request import RequestHead

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_NOT_RELAYED: Final = frozenset((b"TRACE", b"CONNECT"))


class ReverseRules:
    """What one reverse listener lets through; `extra_hosts` are `allowed_hosts` and the virtual hosts, lower case."""

    __slots__ = ("allow_origins", "challenge", "credential", "extra_hosts", "routes", "strips_authorization")

    def __init__(
        self,
        routes: RouteTable[Plan],
        extra_hosts: frozenset[bytes],
        allow_origins: frozenset[str],
        credential: bytes | None,
        challenge: str,
    ) -> None:
        self.routes = routes
        self.extra_hosts = extra_hosts
        self.allow_origins = allow_origins
        self.credential = credential
        self.challenge = challenge
        # Whether a request's `Authorization` is for the listener; asked on every request.
        self.strips_authorization = credential is not None

    def allows_host(self, host: bytes, peer: Peer) -> bool:
        """Whether this listener answers for `host`, a Host field's value; ports are not compared."""
        name = host_name(host)
        if name == b"localhost" or name in self.extra_hosts:
            return True
        address = _address(name.strip(b"[]").decode("latin-1"))
        return address is not None and address == _address(peer.address)

    def find(self, head: RequestHead, peer: Peer, *, host_allowed: bool) -> Plan:
        """Return the plan that the request belongs to; raises `Refusal`.

        `host_allowed`: the stream's last request had the same Host and passed.
        """
        fields = head.fields
        target = head.target
        if head.method in _NOT_RELAYED:
            raise Refusal(PROBLEMS["method_not_allowed"], "neither TRACE nor CONNECT is relayed by a reverse listener")
        if not host_allowed and not self.allows_host(fields.host, peer):
            raise Refusal(
                PROBLEMS["misdirected_request"],
                "the Host field names neither localhost, the listener's address, a route.host nor one of allowed_hosts",
            )
        if target[:1] != b"/":
            target = self._origin_form(head)
        if self.credential is not None:
            _authenticate(head, self.credential)
        plan = self.routes.find(fields.host_name, target)
        if plan is None:
            raise Refusal(PROBLEMS["no_route"], "no connection has a route for this path and host")
        if fields.origin or fields.has_fetch_metadata:
            self._check_origin(head, plan, peer)
        return plan

    def _origin_form(self, head: RequestHead) -> bytes:
        target = head.target
        if target == b"*":
            if head.method == b"OPTIONS":
                raise Refusal(PROBLEMS["no_route"], "OPTIONS * has no route")
            raise Refusal(PROBLEMS["bad_request"], "the target * belongs to OPTIONS")
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise Refusal(PROBLEMS["bad_request"], "the target is neither a path nor an http URL")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, path = rest[:end], rest[end:]
        match = HOST.fullmatch(authority)
        if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
            raise Refusal(PROBLEMS["bad_request"], "the target's authority is not a host and a port")
        if authority.lower() != head.fields.host.lower():
            raise Refusal(PROBLEMS["misdirected_request"], "the target names another host than the Host field")
        head.target = path if path.startswith(b"/") else b"/" + path
        return head.target

    def _check_origin(self, head: RequestHead, plan: Plan, peer: Peer) -> None:
        fields = head.fields
        refusal = Refusal(PROBLEMS["cross_site"], "the request comes from a web page of another site (allow_origins)")
        origin = fields.origin.decode("latin-1").lower()
        if origin and origin in self.allow_origins:
            return
        if fields.fetch_site == b"cross-site":
            raise refusal
        to_loopback_socket = bool(head.upgrade) and (not peer.address or is_loopback(peer.address))
        if not origin or not (fields.has_fetch_metadata or to_loopback_socket):
            return
        own = ("https" if peer.tls else "http", host_name(fields.host).decode(), _port(fields.host, tls=peer.tls))
        try:
            parts = urlsplit(origin)
            came = (parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme))
        except ValueError:
            raise refusal from None
        if came not in (own, plan.aims.origin):
            raise refusal


def _authenticate(head: RequestHead, credential: bytes) -> None:
    lines = [line_name_and_value(line) for line in head.fields.authorization]
    # One field of exactly this name: what is told apart by "_" or stands twice is nobody's credential.
    value = lines[0][1] if len(lines) == 1 and lines[0][0] == b"authorization" else b""
    scheme, _, rest = value.partition(b" ")
    given = scheme.lower() + b" " + rest.strip()
    if not hmac.compare_digest(given, credential):
        raise Refusal(PROBLEMS["listener_auth_required"], "listeners.reverse.auth wants its own credential")


def credential_of(auth: ListenerAuth) -> bytes | None:
    """Return what an `Authorization` field has to say, its scheme in lower case; None for client certificates."""
    if auth.bearer is not None:
        return b"bearer " + auth.bearer.reveal().encode()
    if auth.basic is not None:
        pair = f"{auth.basic.username}:{auth.basic.password.reveal()}"
        return b"basic " + base64.b64encode(pair.encode())
    return None


def is_loopback(text: str) -> bool:
    """Whether an IP literal is a loopback address."""
    address = _address(text)
    return address is not None and address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP literal's address; a dual-stack socket's `::ffff:127.0.0.1` is 127.0.0.1."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _port(host: bytes, *, tls: bool) -> int:
    match = HOST.fullmatch(host)
    return int(match[2]) if match is not None and match[2] else (443 if tls else 80)
