"""An upstream that answers whatever llhttp reads: each whole request gets a response with a number of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import httptools

if TYPE_CHECKING:
    from tests.fuzz.memory import Server

_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?= )")
_KNOWN: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"))
BODY: Final = b"served"


def served(number: int) -> bytes:
    """Return the response with this number."""
    return b"HTTP/1.1 200 OK\r\nX-Serial: %d\r\nContent-Length: %d\r\n\r\n" % (number, len(BODY)) + BODY


class Answering:
    """One stream's server: `take` what came, get what to send. Numbers come from `count`, which streams share."""

    def __init__(self, count: list[int]) -> None:
        self._count = count
        self._whole = False
        self._parser: Any = None
        self._answers = b""
        self._broken = False

    @property
    def rests(self) -> bool:
        """Whether no request is under way."""
        return self._parser is None

    def on_message_complete(self) -> None:
        self._count.append(len(self._count))
        whole = served(self._count[-1])
        self._answers += whole.removesuffix(BODY) if self._parser.get_method() == b"HEAD" else whole
        self._whole = True

    def take(self, data: bytes) -> bytes:
        """Return the answers to what is whole now."""
        if self._broken:
            return b""
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
            match = _METHOD.match(data)
            if match is not None and match[0] not in _KNOWN:
                data = b"POST" + data[len(match[0]) :]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._broken = True
        answers, self._answers = self._answers, b""
        if self._whole:  # a parser for each, so that one that ends its stream does not matter here
            self._whole, self._parser = False, None
        return answers


def answer(server: Server, data: bytes, count: list[int]) -> None:
    """Have the server of a stream in memory take what came, and send what that makes."""
    if server.memo is None:
        server.memo = Answering(count)
    answers = server.memo.take(data)
    if answers:
        server.transport.deliver(answers)
