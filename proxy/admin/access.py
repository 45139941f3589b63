"""Who may see and do what on the admin listener. Pure.

A browser on the operator's machine is a loopback peer too, whatever page it shows: the rules on Host, Origin and POST
keep other people's pages out. An authorization server, though, has to be able to send the browser back to us.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.problem import PROBLEMS
from proxy.secret import Secret
from proxy.wire.request import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.definitions.settings import AdminListener
    from proxy.problem import Problem

# Probes and scrapers come from anywhere and name any Host; these pages have no effect and reflect nothing.
OPEN_TO_ALL: Final = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})

# Where a browser may arrive from another site. State and cookie protect the callback; the page after it counts as
# cross-site, too (as every URL of a chain of redirects does), and only shows; the start asks for a click of its own.
_ARRIVALS: Final = ("/oauth/callback/", "/oauth/done/", "/oauth/start/")

_POST_RULE: Final = "a POST comes from a fresh page of this listener, or without Origin, Cookie and Sec-Fetch fields"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Visit:
    """What one request says of itself.

    `peer` and `local` are the addresses of its stream, "" on a unix socket. `fields` finds names in any case.
    """

    method: str
    peer: str
    local: str
    fields: Mapping[str, str]
    has_body: bool = False
    path: str = "/"

    @property
    def arrives(self) -> bool:
        """It is a whole page that a browser goes to, not a part of another page, and not a script's request."""
        return self.fields.get("Sec-Fetch-Mode") == "navigate" and self.fields.get("Sec-Fetch-Dest") == "document"

    @property
    def wanted(self) -> bool:
        """The browser says that a page of this origin or its user asked for it, and no page of somebody else."""
        return self.fields.get("Sec-Fetch-Site") in ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one admin listener; hosts are lower case, without ports."""

    auth: Secret | None
    hosts: frozenset[str]
    public_origin: str | None

    @classmethod
    def of(cls, listener: AdminListener) -> Rules:
        """Read the rules from the definitions."""
        public = urlsplit(listener.public_url) if listener.public_url else None
        names = {"localhost", *(host.lower() for host in listener.allowed_hosts)}
        if public is not None and public.hostname:
            names.add(public.hostname)
        origin = f"{public.scheme}://{public.netloc}".lower() if public is not None else None
        return cls(listener.auth, frozenset(names), origin)

    def refusal(self, visit: Visit) -> tuple[Problem, str] | None:
        """Return why a page that is not open to all may not answer, None when it may. A POST has more to show."""
        if not self._knows_peer(visit):
            return PROBLEMS["admin_forbidden"], "come from a loopback address or send Authorization: Bearer …"
        host = visit.fields.get("Host", "").lower()
        if not self._answers_for(host, visit.local):
            return (
                PROBLEMS["misdirected_request"],
                "Host is neither localhost, the listener's address, the host of public_url nor one of allowed_hosts",
            )
        if visit.arrives and visit.path.startswith(_ARRIVALS):
            return None
        origin = visit.fields.get("Origin")
        foreign = origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}", self.public_origin)
        if foreign or visit.fields.get("Sec-Fetch-Site") == "cross-site":
            return PROBLEMS["cross_site"], "the request comes from a page of another site"
        return None

    def knows_host(self, host: str, local: str) -> bool:
        """Tell whether requests with that Host field are for this listener; `local` is the stream's own address."""
        return self._answers_for(host.lower(), local)

    def secure(self, host: str) -> bool:
        """Tell whether that Host field names the public origin, and this is on https."""
        return self.public_origin == f"https://{host.lower()}"

    def _knows_peer(self, visit: Visit) -> bool:
        peer = _address(visit.peer)
        if not visit.peer or (peer is not None and peer.is_loopback):
            return True
        scheme, _, credential = visit.fields.get("Authorization", "").partition(" ")
        return self.auth is not None and scheme.lower() == "bearer" and Secret(credential.strip()) == self.auth

    def _answers_for(self, host: str, local: str) -> bool:
        match = HOST.fullmatch(host.encode("latin-1", "replace"))
        if match is None:
            return False
        name = match[1].decode("latin-1").rstrip(".")
        literal = _address(name.strip("[]"))
        return name in self.hosts or (literal is not None and literal == _address(local))


def refusal_of_post(visit: Visit, *, page_token: bool) -> tuple[Problem, str] | None:
    """Return why a POST may have no effect, None when it may; `page_token`: it brings the token of a page of ours.

    Without it no browser may have sent it: a browser always sends one of these fields with a POST, and only scripts of
    our own origin could send JSON.
    """
    if page_token:
        return None
    marks = ("origin", "cookie")
    if any(name.lower() in marks or name.lower().startswith("sec-fetch-") for name in visit.fields):
        return PROBLEMS["cross_site"], _POST_RULE
    media = visit.fields.get("Content-Type", "").partition(";")[0].strip().lower()
    if visit.has_body and media != "application/json":
        return PROBLEMS["cross_site"], "a POST has no body, or Content-Type: application/json"
    return None


def _address(text: str) -> _Address | None:
    """Return an IP literal's address; a dual-stack socket's `::ffff:127.0.0.1` is 127.0.0.1."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address
