"""A reader that believes nothing: RFC 9112 by its grammar, one regular expression a rule, and no leniency at all.

It says how many messages of a stream are beyond doubt. Whatever the proxy passes on has to be among them: a request or
response that is not is hostile, however many servers would put up with it. Written from the RFC alone and without a
line of the product, so that the two can be wrong in different places only; h11 checks it in turn.
"""

from __future__ import annotations

import re
from typing import Final

from tests.fuzz.readings import Message, Reading, Rest, tidy

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.[01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: " + _VALUE + rb")?")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):(" + _VALUE + rb")")
_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:;"
    + _TOKEN
    + rb"(?:=(?:"
    + _TOKEN
    + rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~\x80-\xff])*"))?)*'
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_HOST: Final = re.compile(rb"(?:[0-9A-Za-z._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_BLANK_LINES: Final = 8
# Spellings that some servers take for the framing or routing field (D-113).
_DISGUISED: Final = frozenset((b"content_length", b"transfer_encoding"))


class _Doubt(Exception):
    """The bytes are not beyond doubt."""


class _Short(Exception):
    """The bytes end within a message."""


def requests(data: bytes) -> Reading:
    """Read requests until the first doubt."""
    messages: list[Message] = []
    at = 0
    try:
        while at < len(data):
            begins = _behind_blank_lines(data, at)
            if begins == len(data):
                return Reading(tuple(messages), Rest.NOTHING if begins == at else Rest.PARTIAL)
            message = _request(data, begins)
            messages.append(message)
            at = message.end
    except _Short:
        return Reading(tuple(messages), Rest.PARTIAL)
    except _Doubt as doubt:
        return Reading(tuple(messages), Rest.FAULT, str(doubt))
    return Reading(tuple(messages), Rest.NOTHING)


def response(data: bytes, method: bytes, *, ended: bool) -> tuple[Reading, bool]:
    """Read the responses to one request: interim ones, then the final one.

    `ended`: the stream came to a clean end behind `data`. Also returns whether the final one is delimited by that.
    """
    messages: list[Message] = []
    at, by_close = 0, False
    try:
        while True:
            message, by_close = _response(data, at, method, ended=ended)
            messages.append(message)
            at = message.end
            if not message.start[0].startswith(b"1") or message.start[0] == b"101":
                break
    except _Short:
        return Reading(tuple(messages), Rest.PARTIAL), by_close
    except _Doubt as doubt:
        return Reading(tuple(messages), Rest.FAULT, str(doubt)), by_close
    return Reading(tuple(messages), Rest.NOTHING if at == len(data) else Rest.PARTIAL), by_close


def _behind_blank_lines(data: bytes, at: int) -> int:
    skipped = 0
    while data.startswith(b"\r\n", at):
        at += 2
        skipped += 1
    if skipped > _BLANK_LINES:
        raise _Doubt("many blank lines")
    return at


def _head(data: bytes, at: int) -> tuple[bytes, list[tuple[bytes, bytes]], int]:
    end = data.find(b"\r\n\r\n", at)
    head = data[at:end] if end >= 0 else data[at:].removesuffix(b"\r")
    if re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", head):
        raise _Doubt("a line end that is none")
    if end < 0:
        raise _Short
    first, *lines = head.split(b"\r\n")
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _Doubt("a field line")
        fields.append((match[1], match[2]))
    return first, fields, end + 4


def _request(data: bytes, at: int) -> Message:
    line, fields, at = _head(data, at)
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or b"#" in match[2]:
        raise _Doubt("the request line")
    message = Message((match[1], match[2]), tidy(fields), b"", match[3])
    if any(name in _DISGUISED for name, _ in message.fields):
        raise _Doubt("a framing field in disguise")
    hosts = message.values(b"host")
    if len(hosts) > 1 or (not hosts and match[3] == b"1.1") or not all(_HOST.fullmatch(host) for host in hosts):
        raise _Doubt("the Host field")
    length = _framing(message)
    if length is None:
        return Message(message.start, message.fields, *_chunks(data, at))
    return _counted(message, data, at, length or 0)


def _response(data: bytes, at: int, method: bytes, *, ended: bool) -> tuple[Message, bool]:
    line, fields, at = _head(data, at)
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise _Doubt("the status line")
    message = Message((match[2],), tidy(fields), b"", match[1])
    length = _framing(message)
    if method == b"HEAD" or match[2] in (b"204", b"304") or match[2].startswith(b"1"):
        return Message(message.start, message.fields, b"", match[1], at), False
    if length is None:
        body, version, end = _chunks(data, at)
        return Message(message.start, message.fields, body, version, end), False
    if length is False:
        if not ended:
            raise _Short
        return Message(message.start, message.fields, data[at:], match[1], len(data)), True
    return _counted(message, data, at, length), False


def _framing(message: Message) -> int | bool | None:
    """Return the length of the body, None for a chunked one, False where nothing is said."""
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise _Doubt("more than one word about the framing")
    if codings:
        if codings[0].lower() != b"chunked" or message.version != b"1.1":
            raise _Doubt("the transfer coding")
        return None
    if not lengths:
        return False
    if not _LENGTH.fullmatch(lengths[0]) or (lengths[0] != b"0" and lengths[0].startswith(b"0")):
        raise _Doubt("the length")
    return int(lengths[0])


def _counted(message: Message, data: bytes, at: int, length: int) -> Message:
    end = at + length
    if end > len(data):
        raise _Short
    return Message(message.start, message.fields, data[at:end], message.version, end)


def _chunks(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    body = []
    while True:
        line, at = _line(data, at)
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _Doubt("a chunk size")
        size = int(match[1], 16)
        if not size:
            break
        if at + size + 2 > len(data):
            if at + size < len(data) and data[at + size :] != b"\r":
                raise _Doubt("a chunk")
            raise _Short
        if data[at + size : at + size + 2] != b"\r\n":
            raise _Doubt("a chunk")
        body.append(data[at : at + size])
        at += size + 2
    while True:
        line, at = _line(data, at)
        if not line:
            return b"".join(body), b"1.1", at
        match = _FIELD.fullmatch(line)
        if match is None or match[1].lower() in (b"content-length", b"transfer-encoding"):
            raise _Doubt("a trailer field")


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    line = data[at:end] if end >= 0 else data[at:].removesuffix(b"\r")
    if b"\n" in line or b"\r" in line or b"\x00" in line:
        raise _Doubt("a line end that is none")
    if end < 0:
        raise _Short
    return line, end + 2
