"""A response head: validated by llhttp, then held to what may be relayed without doubt about its framing.

Pure, like `request`. Whatever is wrong here is the upstream's fault: the refusal is 502 and the stream is not reused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.names import KEPT_IN_RESPONSES, RESPONSE_FIELDS, has_tab, line_name_and_value, options
from proxy.wire.shapes import Shapes

if TYPE_CHECKING:
    from typing import NoReturn

    from proxy.wire.request import HeadLimits

_PROTOCOL_ERROR: Final = PROBLEMS["upstream_protocol_error"]
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_TIMEOUT: Final = re.compile(rb"(?:^|[ ,;])timeout=([0-9]{1,9})")
_MEMO_SIZE: Final = 4096
_MEMO_KEY_MAX: Final = 512


class ResponseFields:
    """What the lines that matter to a proxy come to. `keep_alive_timeout` is seconds, -1 when not told."""

    __slots__ = (
        "chunked", "close", "content_length", "cuts", "keep_alive", "keep_alive_timeout", "locations", "nominated",
        "proxy_authenticate", "upgrade", "www_authenticate",
    )  # fmt: skip

    def __init__(self, lines: list[bytes]) -> None:
        self.content_length = -1
        self.chunked = False
        self.close = False
        self.keep_alive = False
        self.keep_alive_timeout = -1
        self.upgrade = b""
        self.proxy_authenticate = False
        self.www_authenticate: tuple[bytes, ...] = ()
        self.locations: tuple[bytes, ...] = ()
        cuts: list[bytes] = []
        nominated: set[bytes] = set()
        for line in lines:
            name, value = line_name_and_value(line)
            whole = b"\r" + line + b"\r\n"
            match name:
                case b"content-length":
                    if self.content_length >= 0:
                        _refuse("more than one Content-Length field")
                    if not _DIGITS.fullmatch(value) or has_tab(line):
                        _refuse("Content-Length is not a plain decimal number")
                    self.content_length = int(value)
                case b"transfer-encoding":
                    if self.chunked or value.lower() != b"chunked" or has_tab(line):
                        _refuse("a transfer coding other than one chunked")
                    self.chunked = True
                case b"connection":
                    for option in options(value):
                        if option == b"close":
                            self.close = True
                        elif option == b"keep-alive":
                            self.keep_alive = True
                        else:
                            nominated.add(option)
                    cuts.append(whole)
                case b"keep-alive":
                    told = _TIMEOUT.search(value)
                    self.keep_alive_timeout = int(told[1]) if told else -1
                    cuts.append(whole)
                case b"upgrade":
                    self.upgrade = value.lower()
                    cuts.append(whole)
                case b"www-authenticate":
                    self.www_authenticate += (value,)
                case b"location" | b"content-location":
                    self.locations += (whole,)
                case b"proxy-authenticate":
                    self.proxy_authenticate = True
                    cuts.append(whole)
                case b"te" | b"trailer" | b"proxy-connection":
                    cuts.append(whole)
                case _:  # another proxy-*: Proxy-Status and its like are end to end
                    pass
        if self.chunked and self.content_length >= 0:
            _refuse("both Content-Length and Transfer-Encoding")
        self.nominated = frozenset(nominated) - KEPT_IN_RESPONSES - {b"upgrade"}
        self.cuts = tuple(cuts)


class ResponseHead:
    """A response head that passed: `raw` is all of it as it came, `size` its length."""

    __slots__ = ("fields", "lines_at", "raw", "size", "status", "version")

    def __init__(self, status: int, version: int, raw: bytes, lines_at: int, fields: ResponseFields) -> None:
        self.status = status
        self.version = version
        self.raw = raw
        self.lines_at = lines_at
        self.fields = fields
        self.size = len(raw)


class _Silent:
    """What llhttp calls back: nothing, so that it only validates."""


_SILENT: Final = _Silent()
MEMO: Final[dict[bytes, ResponseFields]] = {}
SHAPES: Final = Shapes(RESPONSE_FIELDS)
# Bytes of the lines by which shapes are told apart, beside the status line: an upstream's first one says little.
_BEGINNING: Final = 16
# Status and version by status line: an upstream knows a dozen of them.
_status_lines: Final[dict[bytes, tuple[int, int]]] = {}


def parse_response(buffer: bytes, limits: HeadLimits, searched: int = 0) -> ResponseHead | None:
    """Return the head at the beginning of `buffer`, or None when it is not complete.

    Raises `Refusal` (502) for what is malformed; the stream must then be closed and never reused.
    """
    lines_at = buffer.find(b"\r\n")
    if lines_at > 0 and not searched:
        for shape in SHAPES.known.get(buffer[: lines_at + _BEGINNING], ()):
            match = shape.match(buffer, lines_at)
            if match is not None:
                known = MEMO.get(b"".join(match.groups()))
                size = match.end()
                if known is None or size > limits.size or shape.fields > limits.fields:
                    break
                return ResponseHead(shape.status, 1, buffer[:size], lines_at, known)
    end = buffer.find(b"\r\n\r\n", searched - 3 if searched > 3 else 0)
    if end < 0 or end > limits.size:
        _check_incomplete(buffer, limits)
        return None
    head = buffer[: end + 4] if len(buffer) > end + 4 else buffer
    line = head[:lines_at]
    status, version = _status_lines.get(line) or _status_line(line)
    if end > 4 * limits.fields and head.count(b"\n") - 2 > limits.fields:
        _refuse("too many header fields")
    # llhttp stops at an upgrade, so the lines of a 101 are shown to it as those of a response that has no body either.
    shown = b"HTTP/1.1 204 -" + head[lines_at:] if status == 101 else head
    try:
        httptools.HttpResponseParser(_SILENT).feed_data(shown)
    except httptools.HttpParserUpgrade:
        pass  # a field of that name in another response
    except httptools.HttpParserError as error:
        raise Refusal(_PROTOCOL_ERROR, "the header section breaks the grammar of HTTP/1.1") from error
    lines = RESPONSE_FIELDS.findall(head, lines_at)
    fields = MEMO.get(b"".join(lines))
    if fields is None:
        fields = fields_of(lines)
    elif version == 1 and status != 101:
        SHAPES.turn -= 1
        if SHAPES.turn <= 0:
            SHAPES.learn(head[: lines_at + _BEGINNING], head[lines_at:], status=status)
    if version == 0 and fields.chunked:
        _refuse("Transfer-Encoding in an HTTP/1.0 response")
    return ResponseHead(status, version, head, lines_at, fields)


def fields_of(lines: list[bytes]) -> ResponseFields:
    """Take apart the lines that matter, and remember what they came to; raises `Refusal`."""
    fields = ResponseFields(lines)
    key = b"".join(lines)
    if len(key) <= _MEMO_KEY_MAX:
        if len(MEMO) >= _MEMO_SIZE:
            MEMO.clear()
        MEMO[key] = fields
    return fields


def _status_line(line: bytes) -> tuple[int, int]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        _refuse("the status line is not that of HTTP/1.1")
    known = int(match[2]), int(match[1])
    if len(line) <= _MEMO_KEY_MAX:
        if len(_status_lines) >= _MEMO_SIZE:
            _status_lines.clear()
        _status_lines[line] = known
    return known


def _check_incomplete(buffer: bytes, limits: HeadLimits) -> None:
    """Refuse what can't become a good head any more, instead of waiting for its end."""
    if len(buffer) > limits.size:
        _refuse("the header section is too large")
    if not b"HTTP/1.".startswith(buffer[:7]):
        _refuse("the response does not begin with HTTP/1")
    if buffer.count(b"\n") != buffer.count(b"\r\n"):
        _refuse("a line ends without CR")
    if buffer.count(b"\r\n") - 1 > limits.fields:
        _refuse("too many header fields")


def _refuse(detail: str) -> NoReturn:
    raise Refusal(_PROTOCOL_ERROR, detail)
