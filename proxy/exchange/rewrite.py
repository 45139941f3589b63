"""The heads that leave: the request's with its token, the response's without what belongs to one hop. Pure.

Start line apart, a head is its own bytes with lines cut out and lines added at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.exchange.inject import HeaderInjector
from proxy.problem import PROBLEMS
from proxy.wire.names import cut_named

if TYPE_CHECKING:
    from proxy.access_token import AccessToken
    from proxy.exchange.aim import Aim
    from proxy.exchange.plan import Plan
    from proxy.wire.request import RequestHead
    from proxy.wire.response import ResponseHead

# A segment that is "." or "..", also percent-encoded, between slashes or what servers take for one.
_DOT_SEGMENT: Final = re.compile(rb"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:/|\\|;|%2f|%5c|%3b|$)", re.IGNORECASE)
_EXPECTS_A_LENGTH: Final = frozenset((b"POST", b"PUT", b"PATCH"))
_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: "
# They authenticate the stream, not the request (RFC 4559 §6, MS-NLMP §1.3.1), and stand in the head, before any body.
_BINDING: Final = re.compile(rb"\r\nauthorization:[ \t]*(?:ntlm|negotiate)(?![^ \t\r])", re.IGNORECASE)
_TRAILERS: Final = b"TE: trailers\r\nConnection: TE\r\n"


def upstream_target(base_path: bytes, rest: bytes, *, guards_dots: bool) -> bytes:
    """Return the target for the upstream: the path of `base_url` before `rest`, what is left behind the route's prefix.

    `base_path` has no slash at its end.

    Raises `Refusal` for a path with dot segments where they could leave the base or an allowed path (`guards_dots`).
    """
    if guards_dots and _has_dot_segment(rest):
        raise Refusal(PROBLEMS["bad_request"], "a path with dot segments can't be held to the connection's base path")
    if rest[:1] == b"/":
        return base_path + rest
    if rest[:1] == b"?":
        # `/crm?x` of route `/crm`: base_url itself
        return (base_path or b"/") + rest
    if rest == b"*":  # OPTIONS of a whole server (RFC 9112 §3.2.4); only where the request names it
        return rest
    return (base_path or b"/") if not rest else base_path + b"/" + rest


def _has_dot_segment(target: bytes) -> bool:
    if target.find(b".") < 0 and target.find(b"%") < 0:  # `in` would take four times as long
        return False
    return _DOT_SEGMENT.search(target.partition(b"?")[0]) is not None


def request_head(
    plan: Plan,
    aim: Aim,
    head: RequestHead,
    target: bytes,
    token: AccessToken | None,
    *,
    strip_authorization: bool,
) -> bytes:
    """Return the head for the upstream, with `token` in its place when there is one.

    `target` is the one of `upstream_target`. `strip_authorization`: the application's `Authorization` was for the
    listener and goes no further.
    """
    fields = head.fields
    if fields.ordinary and not strip_authorization and aim.pattern is None:
        lines, added = head.lines.replace(fields.host_line, aim.host_line, 1), b""
        for cut in fields.cuts:
            lines = lines.replace(cut, b"\r\n", 1)
    else:
        lines, added = _without_hop(aim, head, strip_authorization=strip_authorization)
    if token is not None:
        injector = plan.injector
        if isinstance(injector, HeaderInjector):
            if injector.name == b"authorization":
                for cut in fields.authorization:
                    lines = lines.replace(cut, b"\r\n", 1)
            elif plan.credential_lines is not None:
                lines = plan.credential_lines.sub(b"", lines)
            added += injector.line(token)
        elif injector is not None:
            target = injector.target(target, token)
    method = head.method
    framing = b"\r\n" if fields.ordinary and method == b"GET" else _framing(head) + b"\r\n"
    return b"".join((method, b" ", target, b" HTTP/1.1", lines, added, aim.lines, framing))


def binds_stream(request: bytes) -> bool:
    """Whether this request to an upstream signs its stream in: others must never be sent on that one."""
    return _BINDING.search(request) is not None


def _without_hop(aim: Aim, head: RequestHead, *, strip_authorization: bool) -> tuple[bytes, bytes]:
    """Return the lines that cross, the Host replaced where it stood, and a Host line to add where none did."""
    fields = head.fields
    lines = head.lines
    added = b""
    if fields.host_line:
        lines = lines.replace(fields.host_line, aim.host_line, 1)
    else:
        added = aim.host_line[2:]
    for cut in fields.cuts:
        lines = lines.replace(cut, b"\r\n", 1)
    if fields.nominated:
        lines = cut_named(lines, fields.nominated)
    if strip_authorization:
        for cut in fields.authorization:
            lines = lines.replace(cut, b"\r\n", 1)
    if aim.pattern is not None:
        lines = aim.pattern.sub(b"", lines)
    return lines, added


def _framing(head: RequestHead) -> bytes:
    """Return our own lines about this hop and the length of the message."""
    fields = head.fields
    if head.upgrade:
        return _UPGRADE + head.upgrade + b"\r\n"
    if fields.content_length < 0 and not fields.chunked and head.method in _EXPECTS_A_LENGTH:
        return b"Content-Length: 0\r\n"
    return _TRAILERS if fields.trailers else b""


def response_head(aim: Aim, head: ResponseHead, target: bytes, *, added: bytes, decoded: bool) -> bytes:
    """Return the head for the application: hop-by-hop lines cut, `added` lines put at the end.

    `target` is that of the upstream request, for relative locations. `decoded`: the chunks are taken off for a client
    of HTTP/1.0.
    """
    fields = head.fields
    raw = head.raw
    for cut in fields.cuts:
        raw = raw.replace(cut, b"\r\n", 1)
    if fields.nominated:
        raw = cut_named(raw, fields.nominated)
    if decoded:
        raw = cut_named(raw, frozenset((b"transfer-encoding",)))
    if fields.locations and aim.location is not None:
        for line in fields.locations:
            name, _, value = line.strip(b"\r\n").partition(b":")
            rewritten = aim.location.rewrite(value.strip(b" \t"), target)
            raw = raw.replace(line, b"\r\n%b: %b\r\n" % (name, rewritten), 1)
    if head.version == 0:
        raw = b"HTTP/1.1" + raw[8:]
    return raw[:-2] + added + b"\r\n" if added else raw


def ends_stream(request: RequestHead, response: ResponseHead, *, decoded: bool) -> bool:
    """Whether the client's stream ends with this response: it wants so, or only the end can mark that of the body."""
    return not request.keeps_alive or lasts_until_the_end(request, response, decoded=decoded)


def lasts_until_the_end(request: RequestHead, response: ResponseHead, *, decoded: bool = False) -> bool:
    """Whether there is a body that nothing but the end of its stream ends (RFC 9112 §6.3)."""
    if request.method == b"HEAD" or response.status in (204, 304):
        return False
    return decoded or (not response.fields.chunked and response.fields.content_length < 0)
