"""A response that somebody kept in a file: as `curl -i` prints it, or byte for byte as it came. Pure.

curl undoes the framing and, with `--compressed`, the content coding, but prints the fields that announced them; editors
change line ends and add one. All of that is understood; what was understood otherwise than it stands is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError, Refusal
from proxy.exchange.codings import codings_of, decoded
from proxy.exchange.document import UnreadableError
from proxy.problem import PROBLEMS
from proxy.wire.framing import ChunkedBody
from proxy.wire.heads import parse_response
from proxy.wire.request import HeadLimits

if TYPE_CHECKING:
    from proxy.wire.response import ResponseHead

SIZE_MAX: Final = 16 * 1024 * 1024  # far beyond what a rule reads; a file that is larger is another file
_HEADS_MAX: Final = 64  # interim responses, a proxy's own, redirects that curl followed
_LIMITS: Final = HeadLimits(1024 * 1024, 256 * 1024, 1000, 256 * 1024)
_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/([0-9](?:\.[0-9])?) ([1-9][0-9]{2})(?: (.*))?")
_CODING_LINE: Final = re.compile(rb"\r\ncontent-encoding:[ \t]*([^\r]*)", re.IGNORECASE)
_MALFORMED: Final = PROBLEMS["upstream_protocol_error"]


class RecordedError(ProxyError):
    """The file holds no response; the message says what is wrong with it and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A final response; `body` is without framing. `notes` tell what was understood otherwise than it stands."""

    head: ResponseHead
    body: bytes
    notes: tuple[str, ...] = ()


def parse_recorded(data: bytes) -> Recorded:
    """Return the final response in `data`; raise `RecordedError` when there is none."""
    if len(data) > SIZE_MAX:
        raise RecordedError("it is larger than 16 MiB")
    rest = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if not rest:
        raise RecordedError("it is empty")
    for _ in range(_HEADS_MAX):
        lines, rest = _head_and_rest(rest)
        status = int(_status_line(lines[0])[2])
        if status >= 200 and not rest.startswith(b"HTTP/"):
            return _recorded(lines, rest)
        if not rest:
            raise RecordedError(f"it ends after the interim response {status}")
    raise RecordedError(f"it has more than {_HEADS_MAX} heads")


def _head_and_rest(data: bytes) -> tuple[list[bytes], bytes]:
    end = _END.search(data)
    head, rest = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    return [line.rstrip(b"\r") for line in head.rstrip(b"\r\n").split(b"\n")], rest


def _status_line(line: bytes) -> re.Match[bytes]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise RecordedError(
            "it does not begin with a status line such as HTTP/1.1 401 Unauthorized; record it with curl -i"
        )
    return match


def _recorded(lines: list[bytes], body: bytes) -> Recorded:
    first = _status_line(lines[0])
    version = first[1] if first[1] in {b"1.0", b"1.1"} else b"1.1"
    raw = b"\r\n".join((b"HTTP/" + version + b" " + first[2] + b" " + (first[3] or b""), *lines[1:])) + b"\r\n\r\n"
    notes: list[str] = []
    head = _parsed(raw)
    if head.fields.chunked:
        body = _without_chunks(body)
    elif 0 <= head.fields.content_length < len(body) and not body[head.fields.content_length :].strip(b"\r\n"):
        body = body[: head.fields.content_length]  # an editor's line end
    codings = codings_of(_CODING_LINE.findall(raw))
    if codings and body.lstrip()[:1] in {b"{", b"[", b"<", b'"'} and not _is_coded(body, codings):
        head = _parsed(_CODING_LINE.sub(b"", raw))
        notes.append("the body was recorded decoded, so its Content-Encoding is passed over")
    return Recorded(head, body, tuple(notes))


def _parsed(raw: bytes) -> ResponseHead:
    try:
        head = parse_response(raw, _LIMITS)
    except Refusal as refusal:
        raise RecordedError(f"its head is not one of HTTP/1.1: {refusal.detail}") from refusal
    if head is None:
        raise RecordedError("its head is incomplete")
    return head


def _without_chunks(body: bytes) -> bytes:
    """Undo the chunks; a body that has none is as curl prints it."""
    scanner = ChunkedBody(_MALFORMED, decode=True)
    try:
        plain, _ = scanner.feed(body)
    except Refusal:
        return body
    return plain if scanner.done else body


def _is_coded(body: bytes, codings: tuple[bytes, ...]) -> bool:
    try:
        decoded(body, codings, SIZE_MAX)
    except UnreadableError:
        return False
    return True
