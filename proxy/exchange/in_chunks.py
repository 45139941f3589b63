"""Exchanges on streams that know no reset, those of unix sockets: a body without a length goes out in chunks.

Such a body lasts until its stream ends, and only a reset tells that it was cut (RFC 9112 §8). In chunks it lacks the
last one instead. Clients of HTTP/1.0 know no chunks and get it as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.exchange.flow import Exchange
from proxy.exchange.rewrite import lasts_until_the_end
from proxy.wire.names import RESPONSE_FIELDS
from proxy.wire.response import ResponseHead, fields_of

if TYPE_CHECKING:
    from proxy.wire.request import RequestHead


class InChunks(Exchange):
    """An exchange whose client sees a cut only where a body has an end of its own."""

    __slots__ = ("_chunks",)

    _chunks: bool  # known with the response

    def _relay(self, head: ResponseHead, piece: bytes, *, done: bool) -> None:
        self._chunks = _needs_chunks(self._head, head)
        if self._chunks:
            head, piece = announced(head), chunk(piece, last=done)
        super()._relay(head, piece, done=done)

    def piece(self, data: bytes, *, done: bool) -> None:
        """Relay more of the response's body; what is held is not relayed yet."""
        super().piece(chunk(data, last=done) if self._held is None and self._chunks else data, done=done)


def _needs_chunks(request: RequestHead, response: ResponseHead) -> bool:
    return request.version > 0 and lasts_until_the_end(request, response)


def announced(head: ResponseHead) -> ResponseHead:
    """Return the same head for a body in chunks."""
    raw = head.raw[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    fields = fields_of(RESPONSE_FIELDS.findall(raw, head.lines_at))
    return ResponseHead(head.status, head.version, raw, head.lines_at, fields)


def chunk(data: bytes, *, last: bool) -> bytes:
    """Return `data` as a chunk, and the end of the body behind the last one (RFC 9112 §7.1)."""
    framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return framed + b"0\r\n\r\n" if last else framed
