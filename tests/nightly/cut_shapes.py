"""Responses and requests to be cut, and what a reader who is not ours makes of the bytes that are left."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

import h11

from tests.support.scripts import response


class End(Enum):
    """How a sender leaves in the middle of its message."""

    FIN = "FIN"
    RESET = "RST"
    GOODBYE = "close_notify and FIN"  # over TLS; a FIN alone is a cut there


@dataclass(frozen=True)
class Shape:
    """One response, whole. `connection` is that of the stage by which it is asked for."""

    name: str
    raw: bytes
    body: bytes
    connection: str = "plain"
    method: bytes = b"GET"
    version: bytes = b"1.1"
    fields: tuple[bytes, ...] = ()  # of the request
    until_close: bool = False
    first: bytes = b""  # what the first attempt gets instead; the second one's is cut
    second: bytes = b""  # what a second attempt gets; the first one's is cut

    def nobody_sees(self, at: int, end: End, *, tls: bool) -> bool:
        """Whether no reader can tell that something is missing: this body ends where the stream ends (RFC 9112 §8)."""
        in_body = at >= self.raw.index(_LAST_FIELD) + len(_LAST_FIELD)
        return self.until_close and in_body and end is (End.GOODBYE if tls else End.FIN)


@dataclass(frozen=True)
class Message:
    """One final response as a reader took it, from bytes that may be no more than its beginning."""

    status: int
    body: bytes
    complete: bool
    own: bool  # an answer of the proxy, which says by itself that there was no response
    claims_length: bool = False


_LAST_FIELD: Final = b"X-Last: 1\r\n\r\n"
_TEXT: Final = bytes(range(97, 123)) * 4
_JSON: Final = json.dumps({"error": {"code": "OTHER"}, "more": [_TEXT.decode()]}).encode()
_GZIPPED: Final = gzip.compress(_JSON, mtime=0)
_LONG: Final = b"X-A: 0123456789"
OK: Final = b"HTTP/1.1 200 OK"
REFUSED: Final = response(b"no", status=b"401 Unauthorized")
SERVED: Final = response(b"the second one")


def _said(line: bytes, *fields: bytes, framed: bytes = b"") -> bytes:
    return b"\r\n".join((line, *fields)) + b"\r\n" + _LAST_FIELD + framed


def _chunks(body: bytes, *, size: int = 24, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in pieces) + b"0\r\n" + trailers + b"\r\n"


def _counted(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


_CHUNKED: Final = b"Transfer-Encoding: chunked"
_TRAILERS: Final = b"X-Sum: 0123456789abcdef\r\nX-Other: 1\r\n"
_READABLE: Final = (b"Content-Type: application/json", b"Content-Encoding: gzip")

SHAPES: Final = (
    Shape("length", _said(OK, _LONG, _counted(_TEXT), framed=_TEXT), _TEXT),
    Shape("chunked", _said(OK, _CHUNKED, framed=_chunks(_TEXT)), _TEXT),
    Shape("chunk extensions", _said(OK, _CHUNKED, framed=_chunks(_TEXT, extension=b";a=1")), _TEXT),
    Shape("until the end", _said(OK, _LONG, framed=_TEXT), _TEXT, until_close=True),
    Shape("HTTP/1.0", _said(b"HTTP/1.0 200 OK", _LONG, framed=_TEXT), _TEXT, until_close=True),
    Shape(
        "trailers", _said(OK, _CHUNKED, framed=_chunks(_TEXT, trailers=_TRAILERS)), _TEXT,
        fields=(b"TE: trailers", b"Connection: TE"),
    ),
    Shape("unwanted trailers", _said(OK, _CHUNKED, framed=_chunks(_TEXT, trailers=_TRAILERS)), _TEXT),
    Shape("HEAD", _said(OK, _LONG, b"X-B: 0123456789", _counted(_TEXT)), b"", method=b"HEAD"),
    Shape("204", _said(b"HTTP/1.1 204 No Content", _LONG), b""),
    Shape(
        "interim",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        + _said(OK, _counted(_TEXT), framed=_TEXT),
        _TEXT,
    ),
    Shape("to HTTP/1.0", _said(OK, _CHUNKED, framed=_chunks(_TEXT)), _TEXT, version=b"1.0"),
    Shape("gzip and a rule", _said(OK, *_READABLE, _counted(_GZIPPED), framed=_GZIPPED), _GZIPPED, "ruled"),
    Shape("gzip, chunked, and a rule", _said(OK, *_READABLE, _CHUNKED, framed=_chunks(_GZIPPED)), _GZIPPED, "ruled"),
    Shape(
        "gzip until the end, and a rule", _said(OK, *_READABLE, framed=_GZIPPED), _GZIPPED, "ruled", until_close=True
    ),
    Shape("after a 401", _said(OK, _counted(_TEXT), framed=_TEXT), _TEXT, "replayed", first=REFUSED),
    Shape("chunked, after a 401", _said(OK, _CHUNKED, framed=_chunks(_TEXT)), _TEXT, "replayed", first=REFUSED),
    Shape(
        "a 401", _said(b"HTTP/1.1 401 Unauthorized", _LONG, _counted(_TEXT), framed=_TEXT), _TEXT, "replayed",
        second=SERVED,
    ),
)  # fmt: skip


def read_bytes(data: bytes, method: bytes, end: End | None) -> Message | None:
    """Read the final response that `data` begins with, octet by octet as RFC 9112 §6.3 and §7.1 say.

    None while there is no final head. `end` is how the stream ended, None while it is open.
    """
    at, status, head = 0, 100, b""
    while status < 200:
        stop = data.find(b"\r\n\r\n", at)
        if stop < 0:
            return None
        head, at = data[at : stop + 2], stop + 4
        status = int(head[9:12])
    fields = [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
    values = {name.lower(): value.strip() for name, _, value in fields}
    own = b"iclient-proxy; error=" in values.get(b"proxy-status", b"")
    if method == b"HEAD" or status in {204, 304}:
        return Message(status, b"", complete=True, own=own)
    if b"transfer-encoding" in values:
        body, complete = _unchunked(data, at)
        return Message(status, body, complete, own, claims_length=True)
    if b"content-length" in values:
        length = int(values[b"content-length"])
        body = data[at : at + length]
        return Message(status, body, len(body) == length, own, claims_length=True)
    return Message(status, data[at:], end is End.FIN, own)


def _unchunked(data: bytes, at: int) -> tuple[bytes, bool]:
    body = b""
    while (stop := data.find(b"\r\n", at)) >= 0:
        size, at = int(data[at:stop].partition(b";")[0], 16), stop + 2
        if size == 0:
            while (stop := data.find(b"\r\n", at)) > at:
                at = stop + 2
            return body, stop == at
        body += data[at : at + size]
        if data[at + size : at + size + 2] != b"\r\n":
            break
        at += size + 2
    return body, False


def read_by_h11(data: bytes, method: bytes, end: End | None) -> Message | None:
    """Let h11 read the same."""
    machine = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=1 << 20)
    machine.send(h11.Request(method=method, target="/", headers=[("Host", "oracle")]))
    machine.send(h11.EndOfMessage())
    machine.receive_data(data)
    ended = False
    found: h11.Response | None = None
    body, complete = b"", False
    try:
        while not complete:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                if ended or end is not End.FIN:  # a reset is no end of anything
                    break
                ended = True
                machine.receive_data(b"")
            elif isinstance(event, h11.Response):
                found = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                complete = True
            elif isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError:
        pass
    if found is None:
        return None
    own = any(name == b"proxy-status" and b"error=" in value for name, value in found.headers)
    return Message(found.status_code, body, complete, own)


def is_whole_request(raw: bytes) -> bool:
    """Whether h11, as a server, takes these bytes for a request with nothing missing."""
    machine = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=1 << 20)
    machine.receive_data(raw)
    machine.receive_data(b"")
    try:
        while (event := machine.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                return True
            if isinstance(event, h11.ConnectionClosed):
                return False
    except h11.RemoteProtocolError:
        pass
    return False
