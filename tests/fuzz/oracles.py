"""Two readers that are not ours, in this process: h11, and llhttp in its strict mode (httptools).

Node's own servers and clients, which are the third, live in a process of theirs (`node`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import h11
import httptools

from tests.fuzz.readings import Message, Reading, Rest, tidy

_HEAD_MAX: Final = 1 << 20
# What every llhttp knows. Another method is shown to it as POST: which words are methods is not its to say.
_KNOWN: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"))
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?= )")


def with_known_methods(data: bytes, reading: Reading) -> tuple[bytes, ...]:
    """Return h11's messages, and what is left over behind them, with POST for methods that llhttp may not know."""
    pieces, begins = [], 0
    for end in [*(message.end for message in reading.messages), len(data)]:
        piece = data[begins:end]
        match = _METHOD.match(piece)
        if match is not None and match[0] not in _KNOWN:
            piece = b"POST" + piece[len(match[0]) :]
        pieces.append(piece)
        begins = end
    return tuple(pieces)


def h11_requests(data: bytes) -> Reading:
    """Read as h11's server does."""
    messages: list[Message] = []
    at = 0
    while at < len(data):
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_MAX)
        machine.receive_data(data[at:])
        try:
            request, body, rest = _one(machine)
        except h11.RemoteProtocolError as error:
            return Reading(tuple(messages), Rest.FAULT, str(error))
        if rest is None:
            return Reading(tuple(messages), Rest.PARTIAL)
        at = len(data) - rest
        start = (bytes(request.method), bytes(request.target))
        version = bytes(request.http_version)
        messages.append(Message(start, tidy(request.headers.raw_items()), body, version, at))
    return Reading(tuple(messages), Rest.NOTHING)


def _one(machine: h11.Connection) -> tuple[Any, bytes, int | None]:
    """Return the message, its body and how many bytes lie behind it; None where it is not whole."""
    head, body = None, []
    while True:
        event = machine.next_event()
        match event:
            case h11.Request() | h11.Response():
                head = event
            case h11.Data():
                body.append(bytes(event.data))
            case h11.EndOfMessage():
                return head, b"".join(body), len(machine.trailing_data[0])
            case h11.NEED_DATA | h11.PAUSED | h11.ConnectionClosed():
                return head, b"".join(body), None


def h11_response(data: bytes, method: bytes, *, ended: bool) -> Reading:
    """Read one final response as h11's client does, with the interim ones before it."""
    machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_MAX)
    asked = method if method in (b"HEAD", b"CONNECT") else b"GET"
    machine.send(h11.Request(method=asked, target=b"/", headers=[(b"Host", b"x")]))
    machine.send(h11.EndOfMessage())
    if data:  # nothing would be the end of the stream
        machine.receive_data(data)
    if ended:
        machine.receive_data(b"")
    messages: list[Message] = []
    head, body = None, []
    try:
        while True:
            event = machine.next_event()
            match event:
                case h11.InformationalResponse():
                    status = b"%d" % event.status_code
                    messages.append(Message((status,), tidy(event.headers.raw_items()), b"", bytes(event.http_version)))
                    if event.status_code == 101:
                        return Reading(tuple(messages), Rest.NOTHING)
                case h11.Response():
                    head = event
                case h11.Data():
                    body.append(bytes(event.data))
                case h11.EndOfMessage() if head is not None:
                    end = len(data) - len(machine.trailing_data[0])
                    fields = tidy(head.headers.raw_items())
                    version = bytes(head.http_version)
                    messages.append(Message((b"%d" % head.status_code,), fields, b"".join(body), version, end))
                    return Reading(tuple(messages), Rest.NOTHING if end == len(data) else Rest.PARTIAL)
                case _:
                    return Reading(tuple(messages), Rest.PARTIAL)
    except h11.RemoteProtocolError as error:
        return Reading(tuple(messages), Rest.FAULT, str(error))


class _Taken:
    """What llhttp calls back; keeps messages, without their trailers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.begun = False
        self.in_head = True
        self._start: list[bytes] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self.parser: Any = None

    def on_message_begin(self) -> None:
        self.begun = self.in_head = True
        self._start, self._fields, self._body = [], [], []

    def on_url(self, url: bytes) -> None:
        self._start.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head = False

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def is_framed(self) -> bool:
        """Whether something beside the end of the stream says where the body ends."""
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._fields)

    def on_message_complete(self) -> None:
        self.begun = False
        parser = self.parser
        start: tuple[bytes, ...]
        if isinstance(parser, httptools.HttpRequestParser):
            start = (parser.get_method(), b"".join(self._start))
        else:
            start = (b"%d" % parser.get_status_code(),)
        version = parser.get_http_version().encode()
        self.messages.append(Message(start, tidy(self._fields), b"".join(self._body), version))


def llhttp_requests(data: bytes) -> Reading:
    """Read as llhttp does."""
    taken = _Taken()
    while True:
        taken.parser = httptools.HttpRequestParser(taken)
        try:
            taken.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:  # it leaves what follows to somebody else: we go on
            data = data[upgrade.args[0] :]
            if data:
                continue
        except httptools.HttpParserError as error:
            return Reading(tuple(taken.messages), Rest.FAULT, str(error))
        return Reading(tuple(taken.messages), Rest.PARTIAL if taken.begun else Rest.NOTHING)


def llhttp_response(data: bytes, *, ended: bool) -> Reading:
    """Read responses as llhttp does; not for those to HEAD, of which httptools can't be told."""
    taken = _Taken()
    taken.parser = httptools.HttpResponseParser(taken)
    try:
        taken.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return Reading(tuple(taken.messages), Rest.NOTHING)
    except httptools.HttpParserError as error:
        return Reading(tuple(taken.messages), Rest.FAULT, str(error))
    if taken.begun and ended and not taken.in_head and not taken.is_framed():
        taken.on_message_complete()
    final = taken.messages[-1].start[0] if taken.messages else b"1xx"
    return Reading(tuple(taken.messages), Rest.PARTIAL if taken.begun or final.startswith(b"1") else Rest.NOTHING)
