"""What a request demands of whoever gets it, whatever it belongs to, and how it hears that this can't be. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.problem import PROBLEMS, answer

if TYPE_CHECKING:
    from proxy.inbound.rules import Rules
    from proxy.wire.request import RequestFields, RequestHead

_HOPS_DIGITS: Final = 18  # as many as a length may have; Python refuses to read thousands of them
CONNECTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_NOTHING: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_NOTHING_CLOSE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CHALLENGES: Final = {"listener_auth_required": "WWW-Authenticate", "proxy_auth_required": "Proxy-Authenticate"}


def check_demands(fields: RequestFields, via_tag: bytes) -> None:
    """Raise `Refusal` for what can't be done for this request; `via_tag` is the name of this process."""
    if fields.expects and fields.expects != b"100-continue":
        raise Refusal(PROBLEMS["expectation_failed"], "the only expectation that is known is 100-continue")
    if fields.via and via_tag in fields.via:
        raise Refusal(PROBLEMS["proxy_loop_detected"], "the Via field names this very process")


def ends_here(head: RequestHead) -> bool:
    """Count `Max-Forwards` of OPTIONS down; whether we are the final recipient (RFC 9110 §7.6.2). Raises `Refusal`."""
    forwards = head.fields.max_forwards
    if not forwards or head.method != b"OPTIONS":
        return False
    if not forwards.isdigit() or len(forwards) > _HOPS_DIGITS:
        raise Refusal(PROBLEMS["bad_request"], "Max-Forwards is not a number of hops")
    if int(forwards) == 0:
        return True
    head.count_down()
    return False


def late_body() -> Refusal:
    """Return what ends a request whose body stays away."""
    return Refusal(PROBLEMS["client_body_timeout"], "no byte of the request's body for limits.body_idle")


def late_head() -> Refusal:
    """Return what ends a stream on which a head does not come to its end."""
    return Refusal(PROBLEMS["client_body_timeout"], "the request head took longer than limits.head_timeout")


def nothing_more(*, close: bool) -> bytes:
    """Return the answer of the final recipient of OPTIONS: there is nothing to say."""
    return _NOTHING_CLOSE if close else _NOTHING


def own_answer(refusal: Refusal, rules: Rules, request_id: str, *, close: bool, head_only: bool) -> bytes:
    """Return the answer to what got no further than a listener; it says which credential is wanted, if one is."""
    challenge = _CHALLENGES.get(refusal.problem.code)
    return answer(
        refusal.problem,
        refusal.detail,
        request_id=request_id,
        retry_after=refusal.retry_after,
        fields=((challenge, rules.challenge),) if challenge is not None else (),
        close=close,
        head_only=head_only,
    )
