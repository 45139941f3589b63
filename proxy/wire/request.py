"""A request head: validated by llhttp, then held to what a proxy that adds credentials can afford to accept.

Pure: bytes in, a value or a `Refusal` out. The head keeps its own bytes; only lines that matter are taken apart, and
what a set of such lines comes to is remembered, since one client sends the same set again and again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.names import KEPT_IN_REQUESTS, REQUEST_FIELDS, TOKEN, has_tab, line_name_and_value, options
from proxy.wire.shapes import Shapes

if TYPE_CHECKING:
    from typing import NoReturn

    from proxy.problem import Problem

_BAD_REQUEST: Final = PROBLEMS["bad_request"]
_NOT_IMPLEMENTED: Final = PROBLEMS["not_implemented"]

# Unreserved, reserved without "#", and "%"; also [ ] \ ^ | which clients send raw and servers take (RFC 3986 §2).
_IN_TARGET: Final = rb"[!$-;=?-Z\[\]\\^_a-z|~]"
START_LINE: Final = re.compile(rb"([!#$%%&'*+\-.^_`|~0-9A-Za-z]+) (%b+) HTTP/1\.([01])\r\n" % _IN_TARGET)
_VERSION: Final = re.compile(rb" HTTP/(\d)\.(\d)\r\n")
_MAX_FORWARDS: Final = re.compile(rb"\r\nmax-forwards:[^\r]*", re.IGNORECASE)
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
# A registered name, an IPv4 or bracketed IPv6 address, perhaps a port (RFC 9110 §7.2); ASCII by design.
HOST: Final = re.compile(rb"((?:[0-9A-Za-z_.~-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")

# What llhttp knows; any other token is a method too, but llhttp has to be shown one that it knows.
KNOWN_METHODS: Final = frozenset(
    (
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PROPFIND",
        b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"SEARCH", b"REPORT", b"PURGE",
    )
)  # fmt: skip
_METHOD_MAX: Final = 32
_LEADING_BLANK_LINES: Final = 8  # RFC 9112 §2.2 asks for at least one; more is somebody probing
_MEMO_SIZE: Final = 2048
MEMO_KEY_MAX: Final = 512


class RequestFields:
    r"""What the lines that matter to a proxy come to, one value per distinct set of them.

    `cuts` are whole lines (`\\r\\nName: value\\r\\n`) that never cross; `nominated` are the lower-case names that
    `Connection` takes along; `content_length` is -1 without one. `host_name` is the Host in lower
    case, without its port. `ordinary`: nothing here asks for more than to be relayed, and no body follows; asked once
    instead of ten things on every request.
    """

    __slots__ = (
        "authorization", "chunked", "close", "content_length", "cuts", "expects", "fetch_site", "has_fetch_metadata",
        "host", "host_line", "host_name", "keep_alive", "max_forwards", "nominated", "ordinary", "origin",
        "proxy_authorization", "trailers", "upgrade", "via",
    )  # fmt: skip

    def __init__(self, lines: list[bytes]) -> None:
        self.host = b""
        self.host_line = b""
        self.host_name = b""
        self.cuts: tuple[bytes, ...] = ()
        self.nominated: frozenset[bytes] = frozenset()
        self.authorization: tuple[bytes, ...] = ()
        self.proxy_authorization = b""
        self.content_length = -1
        self.chunked = False
        self.close = False
        self.keep_alive = False
        self.expects = b""
        self.upgrade = b""
        self.trailers = False
        self.via = b""
        self.origin = b""
        self.fetch_site = b""
        self.has_fetch_metadata = False
        self.max_forwards = b""
        cuts: list[bytes] = []
        nominated: set[bytes] = set()
        upgrade = b""
        te: tuple[bytes, ...] = ()
        for line in lines:
            name, value = line_name_and_value(line)
            whole = b"\r" + line + b"\r\n"
            match name:
                case b"host":
                    if self.host_line:
                        _refuse("more than one Host field")
                    if not valid_host(value):
                        _refuse("the Host field is not a host and a port")
                    self.host, self.host_line, self.host_name = value, whole, host_name(value)
                case b"content-length":
                    if self.content_length >= 0:
                        _refuse("more than one Content-Length field")
                    if not _DIGITS.fullmatch(value) or has_tab(line):
                        _refuse("Content-Length is not a plain decimal number")
                    self.content_length = int(value)
                case b"transfer-encoding":
                    if self.chunked:
                        _refuse("more than one Transfer-Encoding field")
                    if has_tab(line):
                        _refuse("a tab beside the transfer coding")
                    self.chunked = _only_chunked(value)
                case b"connection":
                    for option in options(value):
                        if option == b"close":
                            self.close = True
                        elif option == b"keep-alive":
                            self.keep_alive = True
                        else:
                            nominated.add(option)
                    cuts.append(whole)
                case b"expect":
                    self.expects = value.lower()
                case b"te":
                    te = options(value)
                    cuts.append(whole)
                case b"upgrade":
                    upgrade = value.lower()
                    cuts.append(whole)
                case b"via":
                    self.via += b"," + value
                case b"origin":
                    self.origin = value or b"null"
                case b"sec-fetch-site":
                    self.fetch_site, self.has_fetch_metadata = value.lower(), True
                case b"max-forwards":
                    self.max_forwards = value
                case b"proxy-authorization":
                    # What stands twice is nobody's credential.
                    self.proxy_authorization = b",".join(filter(None, (self.proxy_authorization, value)))
                    cuts.append(whole)
                case _ if name.startswith(b"authorization"):
                    self.authorization += (whole,)
                case _ if name.startswith(b"sec-fetch-"):
                    self.has_fetch_metadata = True
                case _ if b"_" in name:
                    _refuse("a field name is an underscore spelling of a field that proxies act on")
                case _:  # keep-alive, proxy-*, trailer, http2-settings
                    cuts.append(whole)
        if self.chunked and self.content_length >= 0:
            _refuse("both Content-Length and Transfer-Encoding")
        # Of all protocols only WebSocket's tunnel is one to the same place; h2c or TLS would hide requests in it.
        if b"upgrade" in nominated and upgrade == b"websocket" and not self.chunked and self.content_length <= 0:
            self.upgrade = upgrade
        self.trailers = b"trailers" in te
        self.nominated = frozenset(nominated) - KEPT_IN_REQUESTS - {b"upgrade", b"te"}
        self.cuts = tuple(cuts)
        self.ordinary = (
            bool(self.host_line)
            and self.content_length <= 0
            and not (self.chunked or self.expects or self.upgrade or self.trailers or self.via or self.max_forwards)
            and not self.nominated
        )


class RequestHead:
    r"""A request head that passed: `lines` are its field lines as they came, `\\r\\nA: 1\\r\\nB: 2\\r\\n`."""

    __slots__ = ("fields", "keeps_alive", "lines", "method", "size", "target", "upgrade", "version")

    def __init__(
        self, method: bytes, target: bytes, version: int, lines: bytes, fields: RequestFields, size: int
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.lines = lines
        self.fields = fields
        self.size = size
        # Whether the client wants the stream kept (RFC 9112 §9.3).
        self.keeps_alive = not fields.close and (version == 1 or fields.keep_alive)
        self.upgrade = fields.upgrade if version == 1 else b""  # RFC 9110 §7.8: HTTP/1.0 can't ask for one

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow."""
        return self.fields.chunked or self.fields.content_length > 0

    def count_down(self) -> None:
        """Take one off `Max-Forwards` (RFC 9110 §7.6.2)."""
        left = int(self.fields.max_forwards) - 1
        self.lines = _MAX_FORWARDS.sub(b"\r\nMax-Forwards: %d" % left, self.lines)


class HeadLimits:
    """The four limits on a head: bytes in all, bytes a line, lines, bytes of the target; `least` is that of bytes."""

    __slots__ = ("fields", "least", "line", "size", "target")

    def __init__(self, size: int, line: int, fields: int, target: int) -> None:
        self.size = size
        self.line = line
        self.fields = fields
        self.target = target
        self.least = min(size, line, target)


class _Silent:
    """What llhttp calls back: nothing, so that it only validates."""


_SILENT: Final = _Silent()
MEMO: Final[dict[bytes, RequestFields]] = {}
SHAPES: Final = Shapes(REQUEST_FIELDS)
# Bytes of the lines by which shapes are told apart: the Host line, which comes first, and a little of the next one.
_BEGINNING: Final = 32


def parse_request(buffer: bytes, limits: HeadLimits, searched: int = 0) -> RequestHead | None:
    """Return the head at the beginning of `buffer` (`size` bytes of it), or None when it is not complete.

    `searched` is how much of the buffer an earlier call has seen. Raises `Refusal` for what is not relayed; the
    stream must then be closed, since where the next request begins is unknown.
    """
    lines_at = buffer.find(b"\r\n")
    if lines_at > 0 and not searched:
        for shape in SHAPES.known.get(buffer[lines_at : lines_at + _BEGINNING], ()):
            match = shape.match(buffer)
            if match is not None:
                target, *found = match.groups()
                known = MEMO.get(b"".join(found))
                size = match.end()
                # What is in any doubt goes the long way, which tells what is wrong with it, if anything is.
                if known is None or not known.host_line or size > limits.least or shape.fields > limits.fields:
                    break
                return RequestHead(shape.method, target, 1, buffer[lines_at : size - 2], known, size)
    skipped = 0
    if buffer.startswith((b"\r", b"\n")):
        while buffer.startswith(b"\r\n", skipped):
            skipped += 2
        if skipped > 2 * _LEADING_BLANK_LINES:
            _refuse("too many blank lines before the request line")
        if skipped:
            buffer, searched = buffer[skipped:], max(searched - skipped, 0)
    end = buffer.find(b"\r\n\r\n", searched - 3 if searched > 3 else 0)
    if end < 0 or end > limits.size:
        _check_incomplete(buffer, limits, searched)
        return None
    head = buffer[: end + 4] if len(buffer) > end + 4 else buffer
    start = START_LINE.match(head)
    if start is None:
        _explain_start_line(head, limits)
    method, target, version = start.groups()
    lines_at = start.end() - 2
    if len(target) > limits.target:
        raise Refusal(PROBLEMS["target_too_long"], f"the target has more than {limits.target} bytes (limits.target)")
    if end > limits.line:
        _check_lines(head, limits)
    # A field takes four bytes at least, so a short head need not be counted.
    if end > 4 * limits.fields and head.count(b"\r\n") - 2 > limits.fields:
        raise Refusal(PROBLEMS["headers_too_large"], f"more than {limits.fields} fields (limits.header_fields)")
    if method not in KNOWN_METHODS:
        _check_method(method)
        _validate(b"POST" + head[len(method) :])
    else:
        _validate(head)
    found = REQUEST_FIELDS.findall(head, lines_at)
    fields = MEMO.get(b"".join(found))
    if fields is None:
        fields = fields_of(found)
    else:
        SHAPES.turn -= 1
        if SHAPES.turn <= 0:
            _learn(method, head, lines_at)
    if version == b"0" and fields.chunked:
        _refuse("Transfer-Encoding in an HTTP/1.0 request")
    if not fields.host_line and version == b"1":
        _refuse("no Host field")
    return RequestHead(method, target, 1 if version == b"1" else 0, head[lines_at : end + 2], fields, end + 4 + skipped)


def valid_host(host: bytes) -> bool:
    """Whether `host` is a plain `host` or `host:port` (RFC 9110 §7.2), without user information, list or path."""
    match = HOST.fullmatch(host)
    return match is not None and (match[2] is None or 0 < int(match[2]) < 65536)


def host_name(host: bytes) -> bytes:
    """Return a Host field's value in lower case, without port and final dot."""
    if host.endswith(b"]"):
        return host.lower()
    name, colon, port = host.rpartition(b":")
    return (name if colon and port.isdigit() else host).lower().rstrip(b".")


def fields_of(lines: list[bytes]) -> RequestFields:
    """Take apart the lines that matter, and remember what they came to unless it is a credential; raises `Refusal`."""
    fields = RequestFields(lines)
    key = b"".join(lines)
    if len(key) <= MEMO_KEY_MAX and not fields.authorization and not fields.proxy_authorization:
        if len(MEMO) >= _MEMO_SIZE:
            MEMO.clear()
        MEMO[key] = fields
    return fields


def _learn(method: bytes, head: bytes, lines_at: int) -> None:
    """Have the shape of a good head known, unless llhttp has to see those with its start line, too.

    It reads targets, and knows what CONNECT means.
    """
    if method in KNOWN_METHODS and method != b"CONNECT":
        start = rb"%b (/%b*+) HTTP/1\.1" % (re.escape(method), _IN_TARGET)
        SHAPES.learn(head[lines_at : lines_at + _BEGINNING], head[lines_at:], start=start, method=method)


def _validate(head: bytes) -> None:
    try:
        httptools.HttpRequestParser(_SILENT).feed_data(head)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError as error:
        raise Refusal(_BAD_REQUEST, "the header section breaks the grammar of HTTP/1.1") from error


def _only_chunked(value: bytes) -> bool:
    if value.lower() == b"chunked":
        return True
    if all(TOKEN.fullmatch(part.strip(b" \t")) for part in value.split(b",")):
        raise Refusal(_NOT_IMPLEMENTED, "the only transfer coding that is relayed is chunked")
    raise Refusal(_BAD_REQUEST, "Transfer-Encoding is not a list of codings")


def _check_method(method: bytes) -> None:
    if len(method) > _METHOD_MAX:
        raise Refusal(_NOT_IMPLEMENTED, f"the method has more than {_METHOD_MAX} characters")
    if method.upper() in KNOWN_METHODS:
        raise Refusal(_NOT_IMPLEMENTED, "methods are case-sensitive: write it in capitals")


def _check_incomplete(buffer: bytes, limits: HeadLimits, searched: int) -> None:
    """Refuse what can't become a good head any more, instead of waiting for its end.

    What an earlier call has seen passed, so only what came since is looked at: a head that drips is read once.
    """
    line_end = buffer.find(b"\r\n")
    if line_end < 0:
        if b"\n" in buffer:
            _refuse("a line ends without CR")
        if buffer and buffer != b"\r" and not TOKEN.match(buffer):  # half a blank line may be the beginning
            _refuse("the request line does not begin with a method")
        if len(buffer) > limits.target + _METHOD_MAX + 16:
            raise Refusal(
                PROBLEMS["target_too_long"], f"the target has more than {limits.target} bytes (limits.target)"
            )
        return
    if searched < line_end + 2 and not START_LINE.match(buffer):
        _explain_start_line(buffer, limits)
    seen = buffer.rfind(b"\n", 0, searched) + 1  # the line that was not whole then
    if buffer.count(b"\n", seen) != buffer.count(b"\r\n", seen):
        _refuse("a line ends without CR")
    _check_lines(buffer[max(seen - 2, 0) :], limits)  # from the end of the line before it
    if len(buffer) > limits.size:
        raise Refusal(PROBLEMS["headers_too_large"], f"the head has more than {limits.size} bytes (limits.head_size)")
    if buffer.count(b"\n") - 1 > limits.fields:
        raise Refusal(PROBLEMS["headers_too_large"], f"more than {limits.fields} fields (limits.header_fields)")


def _check_lines(head: bytes, limits: HeadLimits) -> None:
    _, *lines = head.split(b"\r\n")
    if any(len(line) > limits.line for line in lines):
        raise Refusal(
            PROBLEMS["headers_too_large"], f"a header line has more than {limits.line} bytes (limits.header_line)"
        )


def _explain_start_line(head: bytes, limits: HeadLimits) -> NoReturn:
    line = head[: head.find(b"\r\n") + 2]
    version = _VERSION.search(line)
    if version is not None and line.endswith(version[0]) and version.groups() not in ((b"1", b"0"), (b"1", b"1")):
        raise Refusal(PROBLEMS["version_not_supported"], "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if len(line) > limits.target + _METHOD_MAX + 16:
        raise Refusal(PROBLEMS["target_too_long"], f"the target has more than {limits.target} bytes (limits.target)")
    _refuse("the request line is not a method, a target and a version, separated by one space each")


def _refuse(detail: str, problem: Problem = _BAD_REQUEST) -> NoReturn:
    raise Refusal(problem, detail)
