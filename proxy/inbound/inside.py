"""The rules within an intercepted CONNECT: every request is for the host and port that was asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exchange.plan import Plan
    from proxy.inbound.rules import Crossing, Peer
    from proxy.wire.request import RequestHead

_NOT_RELAYED: Final = frozenset((b"TRACE", b"CONNECT"))
_HTTPS: Final = b"https://"
_MISDIRECTED: Final = PROBLEMS["misdirected_request"]


class Within(Protocol):
    """The rules of the forward listener."""

    def within(self, crossing: Crossing, head: RequestHead) -> Plan:
        """Return the plan of a request in origin form that came through this crossing. Raises `Refusal`."""
        ...


class InsideRules:
    """What one intercepted stream lets through; `forward` returns the rules of its listener as they are now.

    Whoever was let in by what stands on the CONNECT was let in for that host alone (F-261).
    """

    __slots__ = ("_crossing", "_forward", "_hosts")

    challenge = ""
    strips_authorization = False

    def __init__(self, forward: Callable[[], Within], crossing: Crossing) -> None:
        self._forward = forward
        self._crossing = crossing
        host = (f"[{crossing.host}]" if ":" in crossing.host else crossing.host).encode()
        with_port = b"%s:%d" % (host, crossing.port)
        self._hosts = frozenset((host, with_port) if crossing.port == 443 else (with_port,))

    def find(self, head: RequestHead, peer: Peer, *, host_allowed: bool) -> Plan:
        """Return the plan that the request belongs to; raises `Refusal`."""
        if head.method in _NOT_RELAYED:
            raise Refusal(PROBLEMS["method_not_allowed"], "neither TRACE nor CONNECT is relayed within a CONNECT")
        if not host_allowed and head.fields.host.lower() not in self._hosts:
            raise Refusal(_MISDIRECTED, "the Host field names another host than the CONNECT that it came through")
        if head.target[:1] != b"/":
            self._origin_form(head)
        return self._forward().within(self._crossing, head)

    def _origin_form(self, head: RequestHead) -> None:
        target = head.target
        if target == b"*" and head.method == b"OPTIONS":
            return
        if target[: len(_HTTPS)].lower() != _HTTPS:
            raise Refusal(PROBLEMS["bad_request"], "the target is neither a path nor an https URL")
        rest = target[len(_HTTPS) :]
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        if rest[:end].lower() not in self._hosts:
            raise Refusal(_MISDIRECTED, "the target names another host than the CONNECT that it came through")
        head.target = rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]
