"""Where a message body ends: counted, chunked or at the end of the stream (RFC 9112 §6.3).

Bodies pass as the bytes that came. A scanner only finds the end and refuses what is malformed; of a chunked body it
also drops chunk extensions and, unless they are wanted, trailers. Sans I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.names import FORBIDDEN_TRAILERS, TOKEN

if TYPE_CHECKING:
    from typing import NoReturn

    from proxy.problem import Problem
    from proxy.wire.request import RequestFields

_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_CHUNK: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;" + TOKEN.pattern + rb"(?:=(?:" + TOKEN.pattern + rb"|" + _QUOTED + rb"))?)*)\r\n"
)
_TRAILER: Final = re.compile(rb"(" + TOKEN.pattern + rb"):[ \t]*[\t -~\x80-\xff]*")
_FRAMING_TRAILERS: Final = frozenset((b"content-length", b"transfer-encoding"))
EXTENSIONS_MAX: Final = 4096  # bytes of chunk extensions a body; more is amplification, nobody uses them
_SIZE_LINE_MAX: Final = 16 + EXTENSIONS_MAX + 2
_TRAILERS_MAX: Final = 16 * 1024


class Body(Protocol):
    """A body being scanned; `done` once its last byte was seen."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what to relay and what lies beyond the end of the body; raises `Refusal` on bad framing."""
        ...

    def end_of_stream(self) -> bool:
        """Whether the body is whole when the stream ends here."""
        ...


class NoBody:
    """A message without a body."""

    __slots__ = ()
    done = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """All of it lies beyond the end."""
        return b"", data

    def end_of_stream(self) -> bool:
        """It was whole before."""
        return True


NO_BODY: Final = NoBody()  # it has no state, so one does for all messages


class CountedBody:
    """A body of `Content-Length` bytes."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Count."""
        left = self.left - len(data)
        if left > 0:
            self.left = left
            return data, b""
        self.done = True
        if left == 0:
            self.left = 0
            return data, b""
        piece, rest = data[: self.left], data[self.left :]
        self.left = 0
        return piece, rest

    def end_of_stream(self) -> bool:
        """Whole only when all bytes came."""
        return self.done


class UntilCloseBody:
    """A response body that ends with the stream; only a clean end makes it whole."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Everything belongs to it."""
        return data, b""

    def end_of_stream(self) -> bool:
        """The clean end of the stream is its end."""
        self.done = True
        return True


class ChunkedBody:
    """A chunked body (RFC 9112 §7.1), relayed in its chunks or, with `decode`, as the bytes within them.

    `problem` is what bad framing is refused with. Trailers are dropped unless `trailers`.
    """

    __slots__ = (
        "_decode",
        "_extensions",
        "_held",
        "_left",
        "_problem",
        "_trailer_bytes",
        "_trailers",
        "_where",
        "done",
    )

    def __init__(self, problem: Problem, *, decode: bool = False, trailers: bool = False) -> None:
        self._problem = problem
        self._decode = decode
        self._trailers = trailers and not decode
        self._where = _SIZE
        self._left = 0
        self._held = b""
        self._extensions = 0
        self._trailer_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Scan chunks; a line that is cut by the end of `data` is held back until its rest comes."""
        if self._held:
            data, self._held = self._held + data, b""
        size = len(data)
        pieces: list[bytes] = []
        kept_from = at = 0  # data[kept_from:at] is to be relayed as it is
        while at < size:
            if self._where is _DATA:
                if self._left > size - at:
                    self._left -= size - at
                    at = size
                    break
                at += self._left
                self._where = _DATA_END
            elif self._where is _DATA_END:
                if size - at < 2:
                    if data[at:] != b"\r":
                        self._refuse("a chunk is longer than its size says")
                    break
                if data[at : at + 2] != b"\r\n":
                    self._refuse("a chunk is longer than its size says")
                if self._decode:
                    pieces.append(data[kept_from:at])
                    kept_from = at + 2
                at += 2
                self._where = _SIZE
            elif self._where is _SIZE:
                match = _CHUNK.match(data, at)
                if match is None:
                    self._check_partial_size(data, at)
                    break
                if match.end(2) > match.start(2):
                    self._extensions += match.end(2) - match.start(2)
                    if self._extensions > EXTENSIONS_MAX:
                        self._refuse("too many bytes of chunk extensions")
                    if not self._decode:
                        pieces.append(data[kept_from : match.end(1)])
                        kept_from = match.end(2)
                self._left = int(match[1], 16)
                at = match.end()
                self._where = _DATA if self._left else _TRAILERS
                if self._decode:
                    pieces.append(data[kept_from : match.start()])
                    kept_from = at
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    self._check_partial_trailer(data, at)
                    break
                if end == at:
                    at += 2
                    if self._decode:
                        kept_from = at
                    pieces.append(data[kept_from:at])
                    self.done = True
                    return b"".join(pieces) if len(pieces) > 1 or kept_from else data[:at], data[at:]
                if not self._keeps_trailer(data[at:end]):
                    pieces.append(data[kept_from:at])
                    kept_from = end + 2
                at = end + 2
        if at < size:
            self._held = data[at:]
        if not pieces and not kept_from and at == size:
            return data, b""
        pieces.append(data[kept_from:at])
        return b"".join(pieces), b""

    def end_of_stream(self) -> bool:
        """Whole only after the last chunk and its trailer section."""
        return self.done

    def _keeps_trailer(self, line: bytes) -> bool:
        self._trailer_bytes += len(line)
        match = _TRAILER.fullmatch(line)
        if match is None or self._trailer_bytes > _TRAILERS_MAX:
            self._refuse("the trailer section is malformed")
        name = match[1].lower()
        if name in _FRAMING_TRAILERS:
            self._refuse("a trailer field would change the framing")
        return self._trailers and name not in FORBIDDEN_TRAILERS

    def _check_partial_size(self, data: bytes, at: int) -> None:
        """Refuse a size line that can't become good; return when its rest may still come."""
        line = data[at:]
        if b"\n" in line or len(line) > _SIZE_LINE_MAX or not _PARTIAL_SIZE.fullmatch(line):
            self._refuse("a chunk size is malformed")

    def _check_partial_trailer(self, data: bytes, at: int) -> None:
        if len(data) - at > _TRAILERS_MAX or b"\n" in data[at:]:
            self._refuse("the trailer section is malformed")

    def _refuse(self, detail: str) -> NoReturn:
        raise Refusal(self._problem, detail)


def request_body(fields: RequestFields) -> Body:
    """Return the scanner of what follows a request head; bad framing is 400."""
    if fields.chunked:
        return ChunkedBody(PROBLEMS["bad_request"])
    return CountedBody(fields.content_length) if fields.content_length > 0 else NO_BODY


class _Where:
    """A place within a chunked body."""

    __slots__ = ()


_SIZE: Final = _Where()
_DATA: Final = _Where()
_DATA_END: Final = _Where()
_TRAILERS: Final = _Where()
_PARTIAL_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[^\r\n\x00]*)?\r?")
