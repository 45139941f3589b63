"""The rules of the forward listener: what a request to a proxy names, whose that is, and may the caller come in."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING, Final, Literal

from proxy.definitions.domains import DomainError, canonical_host
from proxy.errors import Refusal
from proxy.exchange.aim import Origin
from proxy.exchange.claims import NOBODY, PORTS, WHICH, prefix_of
from proxy.inbound.rules import Crossing, Page
from proxy.inbound.welcome import HOST as MAGIC
from proxy.inbound.welcome import welcome
from proxy.problem import PROBLEMS
from proxy.wire.request import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.settings import BasicCredential
    from proxy.exchange.claims import Claimants, HostTable, OriginPlans
    from proxy.exchange.connect import RawStreams
    from proxy.exchange.plan import Plan
    from proxy.inbound.rules import Interceptor, Peer
    from proxy.wire.request import RequestHead

    Scheme = Literal["https", "http"]

_MAGIC_HOST: Final = MAGIC.decode()
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_SITES_MAX: Final = 1024
_GUESSES: Final = 10.0  # wrong credentials a second
_BAD_REQUEST: Final = PROBLEMS["bad_request"]
_MISDIRECTED: Final = PROBLEMS["misdirected_request"]
_BLIND_WARNINGS: Final = 1000  # hosts that are remembered, so that each is warned about once


_HEALTHY: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\n\r\n"
)


class Guesses:
    """How many wrong credentials are looked at: ten a second. `now` gives monotonic seconds."""

    __slots__ = ("_left", "_now", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = _GUESSES
        self._since = now()

    def may_look(self) -> bool:
        """Whether a credential is compared now at all."""
        now = self._now()
        self._left = min(_GUESSES, self._left + (now - self._since) * _GUESSES)
        self._since = now
        return self._left >= 1

    def wrong(self) -> None:
        """One was wrong."""
        self._left -= 1


class Blind:
    """The claimed hosts that blind tunnels go to, each told about once."""

    __slots__ = ("_tell", "_told")

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[str] = set()

    def note(self, host: str) -> None:
        """A tunnel to this host gets no token."""
        if host not in self._told and len(self._told) < _BLIND_WARNINGS:
            self._told.add(host)
            self._tell(host)


class _Site:
    """What the beginning of a target, up to its path, comes to."""

    __slots__ = ("claimants", "host", "origin", "plans", "prefix")

    def __init__(self, claimants: Claimants, scheme: Scheme, host: str, port: int) -> None:
        self.claimants = claimants
        self.host = host
        named = Origin(scheme, host, port)
        self.prefix = prefix_of(named)
        only = claimants.only
        # Where all requests go that begin so; None where path and user decide, or nobody claims them.
        self.plans = only.plans if only is not None else None
        self.origin = only.origin(host) if only is not None else named


class ForwardRules:
    """What the forward listener lets through. `passages` makes the plans of unclaimed requests, None: they are refused.

    `credential` is what `Proxy-Authorization` has to say. Without `interceptor` claimed hosts are tunnelled blindly, or
    refused where `tunnels_claimed` is not set. Tunnels go over `to_claimed` and `to_unclaimed`.
    """

    __slots__ = (
        "_blind", "_credential", "_guesses", "_interceptor", "_passages", "_sites", "_table", "_to_claimed",
        "_to_unclaimed", "_tunnels_claimed",
    )  # fmt: skip

    challenge = 'Basic realm="iclient-proxy"'
    strips_authorization = False  # that field is the upstream's

    def __init__(
        self,
        table: HostTable,
        passages: OriginPlans | None,
        *,
        credential: bytes | None,
        guesses: Guesses,
        blind: Blind,
        tunnels_claimed: bool,
        to_claimed: RawStreams,
        to_unclaimed: RawStreams,
        interceptor: Interceptor | None = None,
    ) -> None:
        self._table = table
        self._passages = passages
        self._credential = credential
        self._guesses = guesses
        self._blind = blind
        self._tunnels_claimed = tunnels_claimed
        self._to_claimed = to_claimed
        self._to_unclaimed = to_unclaimed
        self._interceptor = interceptor
        self._sites: dict[bytes, _Site] = {}

    @property
    def interceptor(self) -> Interceptor | None:
        """Who ends TLS for claimed hosts, if somebody does."""
        return self._interceptor

    def find(self, head: RequestHead, peer: Peer, *, host_allowed: bool) -> Plan | Page | Crossing:
        """Return what the request belongs to, and give it the target that goes upstream. Raises `Refusal`.

        The authority of the target decides; the Host field is replaced by it (RFC 9112 §3.2.2), so it is not looked at.
        """
        del host_allowed
        target = head.target
        end = target.find(b"/", 8)
        if end < 0:  # no path: all of it is the beginning, or a query is part of it
            end = len(target)
        # Never by CONNECT: what follows one is not framed as a request's body is.
        site = self._sites.get(target[:end]) if head.method != b"CONNECT" else None
        if site is None:
            if target[:1] in b"/*" and head.method != b"CONNECT":
                return _own_page(head)
            self._admit(head, peer)
            if head.method == b"CONNECT":
                return self._crossing(head)
            site, end = self._first_seen(target)
        elif self._credential is not None:
            self._admit(head, peer)
        if head.method == b"TRACE":
            raise Refusal(PROBLEMS["method_not_allowed"], "TRACE is not relayed")
        rest = target[end:]
        if rest[:1] != b"/":
            rest = b"*" if not rest and head.method == b"OPTIONS" else b"/" + rest  # RFC 9112 §3.2.4
        if site.plans is not None:
            head.target = rest
            return site.plans.at(site.origin)
        claim = site.claimants.find(rest, self._user(head))
        if claim is not None:
            head.target = rest
            return claim.at(site.host)
        if site.host == _MAGIC_HOST:
            return Page(welcome(head))
        if site.origin.scheme == "https":
            raise Refusal(_BAD_REQUEST, "no connection claims this https URL; others are reached by CONNECT")
        head.target = site.prefix + rest
        return self._passage(site.origin)

    def within(self, crossing: Crossing, head: RequestHead) -> Plan:
        """Return the plan of a request in origin form that came through this crossing. Raises `Refusal`."""
        if self._credential is not None and crossing.passed != self._credential:
            # A reload wants another one. 421 has clients ask on a new stream (RFC 9110 §15.5.20), where they show it.
            raise Refusal(_MISDIRECTED, "proxy_auth wants another credential than that of the CONNECT")
        site = self._sites.get(crossing.prefix)
        if site is None:
            site, _ = self._first_seen(crossing.prefix + b"/")
        if site.plans is not None:
            return site.plans.at(site.origin)
        try:
            claim = site.claimants.find(head.target, crossing.user)
        except Refusal as refusal:  # in here we are another server, of which no credential for proxies is asked
            raise Refusal(PROBLEMS["no_route"], refusal.detail) from refusal
        if claim is not None:
            return claim.at(site.host)
        head.target = site.prefix + head.target
        return self._passage(site.origin)

    def _passage(self, origin: Origin) -> Plan:
        if self._passages is None:
            raise Refusal(PROBLEMS["unclaimed_host"], "no connection claims this URL, and unclaimed is reject")
        return self._passages.at(origin)

    def _first_seen(self, target: bytes) -> tuple[_Site, int]:
        """Return the site of a target in absolute form, and where its path begins; remember it."""
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise Refusal(_BAD_REQUEST, "the target is not an http URL")
        scheme: Scheme = "https" if len(match[1]) == 5 else "http"
        host, port = _authority(match[2], PORTS[scheme])
        claimants = self._table.at(scheme, host, port)
        site = _Site(claimants, scheme, host, port)
        end = match.start(3)
        if match[3][:1] == b"/":  # else what looks like a path may be part of a query
            if len(self._sites) >= _SITES_MAX:
                self._sites.clear()
            self._sites[target[:end]] = site
        return site, end

    def _crossing(self, head: RequestHead) -> Crossing:
        host, port = _authority(head.target, 0)
        claimants = self._table.at("https", host, port)
        prefix = prefix_of(Origin("https", host, port))
        if claimants is NOBODY:
            if self._passages is None:
                raise Refusal(PROBLEMS["unclaimed_host"], "no connection claims this host, and unclaimed is reject")
            return Crossing(host, port, prefix, b"", self._to_unclaimed, None)
        if self._interceptor is not None and self._interceptor.covers(host):
            user = self._user(head)
            if claimants.may_ask(user):  # the requests inside can't be asked: theirs is another server
                raise Refusal(PROBLEMS["proxy_auth_required"], WHICH)
            return Crossing(host, port, prefix, user, self._to_claimed, self._interceptor, self._credential)
        if not self._tunnels_claimed:
            raise Refusal(
                PROBLEMS["interception_required"],
                "a connection claims this host, whose TLS is not intercepted: call it by http, or set intercept",
            )
        self._blind.note(host)
        return Crossing(host, port, prefix, b"", self._to_claimed, None)

    def _admit(self, head: RequestHead, peer: Peer) -> None:
        if self._credential is None:
            return
        given = head.fields.proxy_authorization
        if given and hmac.compare_digest(given, peer.passed):
            return
        problem = PROBLEMS["proxy_auth_required"]
        if not given:
            raise Refusal(problem, "listeners.forward.proxy_auth wants its credential")
        # Once that is passed nothing more is learnt by guessing, be a guess right or wrong.
        if not self._guesses.may_look():
            raise Refusal(problem, "too many wrong credentials: none is looked at for a moment", retry_after=1)
        scheme, _, rest = given.partition(b" ")
        if not hmac.compare_digest(scheme.lower() + b" " + rest.strip(), self._credential):
            self._guesses.wrong()
            raise Refusal(problem, "listeners.forward.proxy_auth wants another credential")
        peer.passed = given

    def _user(self, head: RequestHead) -> bytes:
        given = head.fields.proxy_authorization
        return _user_name(given) if given and self._credential is None else b""


def credential_of(credential: BasicCredential) -> bytes:
    """Return what a `Proxy-Authorization` field has to say, its scheme in lower case."""
    pair = f"{credential.username}:{credential.password.reveal()}"
    return b"basic " + base64.b64encode(pair.encode())


def _own_page(head: RequestHead) -> Page:
    if head.target == b"/healthz" and head.method in {b"GET", b"HEAD"}:
        return Page(_HEALTHY if head.method == b"HEAD" else _HEALTHY + b"ok\n")
    raise Refusal(
        PROBLEMS["absolute_form_required"],
        "this is a proxy: its requests name a whole URL, as in GET http://api.example.com/x, or come by CONNECT",
    )


def _authority(text: bytes, default: int) -> tuple[str, int]:
    """Return host and port of an authority; a port of 0 as `default` means that it has to be written."""
    match = HOST.fullmatch(text)
    port = 0 if match is None else int(match[2]) if match[2] else default
    if match is None or not 0 < port < 65536:
        raise Refusal(_BAD_REQUEST, "the target's authority is not a host and a port from 1 to 65535")
    written = match[1].decode()
    try:
        if written.startswith("["):
            return str(ipaddress.IPv6Address(written[1:-1])), port
        return canonical_host(written), port
    except (DomainError, ValueError) as error:
        raise Refusal(
            _BAD_REQUEST, "the target's host is neither a name nor an address as it is usually written"
        ) from error


def _user_name(given: bytes) -> bytes:
    scheme, _, rest = given.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True).partition(b":")[0]
    except binascii.Error:
        return b""
