"""One stream to an upstream: requests go out, responses come in and are handed to the exchange that it is lent to.

A word on length: asyncio's callbacks, the exchange's port and the pool's side are three views of one small state, and
each half of a file would have to reach into the other.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.framing import NO_BODY, ChunkedBody, CountedBody, UntilCloseBody
from proxy.wire.heads import parse_response
from proxy.wire.reader import Reader
from proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    import asyncio
    import ssl

    from proxy.exchange.stream import TunnelEnd, Uploader
    from proxy.outbound.pool import Pool
    from proxy.outbound.tls import TlsEngine
    from proxy.wire.framing import Body

_PROTOCOL_ERROR: Final = PROBLEMS["upstream_protocol_error"]
_RESET: Final = PROBLEMS["upstream_reset"]


class Upstream(Reader):
    """One stream; fills the exchange's port `Stream`. `deadline` is for the sweep."""

    __slots__ = (
        "_body",
        "_buffer",
        "_complete",
        "_consumer",
        "_decode",
        "_ended",
        "_handshake",
        "_head_only",
        "_held",
        "_idle",
        "_in_body",
        "_keeps_alive",
        "_pool",
        "_tls",
        "_trailers",
        "_transport",
        "_tunnel",
        "_unread",
        "deadline",
        "owner",
    )  # fmt: skip

    _transport: asyncio.Transport
    _unread: select.poll

    def __init__(self, pool: Pool, tls: TlsEngine | None, handshake: asyncio.Future[None]) -> None:
        self._pool = pool
        self._tls = tls
        self._handshake = handshake
        self._consumer: Uploader | None = None
        self._tunnel: TunnelEnd | None = None
        self._body: Body = NO_BODY
        self._buffer = b""
        self._complete = True
        self._decode = False
        self._ended = False
        self._head_only = False
        self._held = False
        self._idle = 0.0
        self._in_body = False
        self._keeps_alive = False
        self._trailers = False
        self.deadline = NEVER
        self.owner: object | None = None

    # Reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is up; TLS begins, if there is any."""
        # uvloop's transports are none of asyncio's classes, only of their shape.
        transport = self._transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=65536)
        self._unread = select.poll()
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._pool.joined(self)
        if self._tls is None:
            self._handshake.set_result(None)
        else:
            self._shake(self._tls, b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.deadline = NEVER
        self._pool.left(self)
        if not self._handshake.done():
            self._handshake.set_exception(
                Refusal(PROBLEMS["tls_protocol_error"], "the upstream closed the stream within the TLS handshake")
            )
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.lost()
            return
        self._ended = True
        if exc is not None:
            self._take_last_words()
        self._fail(clean=False)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the upstream."""
        tls = self._tls
        if tls is not None:
            if not tls.ready:
                self._shake(tls, data)
                return
            try:
                data = tls.receive(data)
            except Refusal as refusal:
                self._break(refusal)
                return
            reply = tls.pending()
            if reply:
                self._transport.write(reply)
            if not data:
                if tls.ended:
                    self.eof_received()
                return
        if self._tunnel is not None:
            if self._idle:
                self.deadline = monotonic() + self._idle
            self._tunnel.from_upstream(data)
        elif self._in_body:
            self._feed(data)
        elif self._consumer is None:
            self._transport.abort()  # bytes nobody asked for: the next exchange must not get them (RFC 9112 §9.3)
        else:
            searched = len(self._buffer)
            self._take_head(self._buffer + data if searched else data, searched)
        if tls is not None and tls.ended:
            self.eof_received()

    def reading(self) -> asyncio.Transport | None:
        """Not while the response is held."""
        return None if self._held else self._transport

    def eof_received(self) -> bool:
        """A clean end: of a body that lasts until here, of an idle stream, or much too early."""
        if self._ended:
            return False
        self._ended = True
        if not self._handshake.done():
            return False
        if self._tunnel is not None:
            self._tunnel.from_upstream(b"")
            return self._tls is None
        self._fail(clean=self._tls is None or self._tls.ended)
        return False

    def pause_writing(self) -> None:
        """The upstream takes no more."""
        if self._consumer is not None:
            self._consumer.upload_blocked(on=True)

    def resume_writing(self) -> None:
        """The upstream takes again."""
        if self._consumer is not None:
            self._consumer.upload_blocked(on=False)
            self._set_deadline()

    # The exchange's port

    def begin(
        self,
        consumer: Uploader,
        data: bytes,
        *,
        complete: bool,
        head_only: bool,
        decode: bool,
        trailers: bool,
        owner: object | None = None,
    ) -> None:
        """Write the beginning of a request; with an `owner` the stream is lent to that one alone from now on."""
        if owner is not None:
            self.owner = owner
        self._consumer = consumer
        self._complete = complete
        self._head_only = head_only
        self._decode = decode
        self._trailers = trailers
        self._transport.write(data if self._tls is None else self._tls.encrypt(data))
        if not self._held:
            timeouts = self._pool.timeouts
            self.deadline = monotonic() + (timeouts.response if complete else timeouts.idle)

    def send(self, data: bytes, *, complete: bool) -> None:
        """Write more of the request, or more for the tunnel."""
        self._complete = complete
        if data:
            self._write(data)
        self._set_deadline()

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading."""
        if on is self._held or self._consumer is None or self._transport.is_closing():
            return
        self._held = on
        if on:
            self._transport.pause_reading()
            self.deadline = NEVER
        else:
            self._transport.resume_reading()
            self._set_deadline()

    def close(self) -> None:
        """Give the stream up."""
        self._consumer = None
        self._tunnel = None
        self.deadline = NEVER
        self._transport.abort()

    def tunnel(self, tunnel: TunnelEnd, idle: float) -> bytes:
        """From now on every byte is the tunnel's."""
        self._tunnel = tunnel
        self._idle = idle
        self.deadline = monotonic() + idle
        rest, self._buffer = self._buffer, b""
        return rest

    def end_upload(self) -> None:
        """Half-close; TLS says close_notify first."""
        if self._tls is not None:
            self._transport.write(self._tls.goodbye())
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # The pool's side

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session, for the next handshake."""
        return self._tls.session if self._tls is not None else None

    def usable(self) -> bool:
        """Whether an idle stream may be lent: open, and nothing has arrived on it, not even a FIN.

        The loop may not have come to what the socket holds, so the kernel is asked: one call, half a microsecond.
        """
        if self._ended or self._transport.is_closing() or (self._tls is not None and self._tls.ended):
            return False
        return not self._unread.poll(0)

    def discard(self) -> None:
        """Close an idle stream politely."""
        if self._tls is not None and not self._transport.is_closing():
            self._transport.write(self._tls.goodbye())
        self._transport.close()

    def expired(self) -> None:
        """A deadline has passed."""
        self.deadline = NEVER
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.lost()
        elif self._consumer is None:
            self.discard()
        else:
            detail = "timeouts.idle" if self._in_body or not self._complete else "timeouts.response"
            self._break(Refusal(PROBLEMS["upstream_timeout"], f"the upstream sent nothing for {detail}"))

    # Inside

    def _shake(self, tls: TlsEngine, data: bytes) -> None:
        try:
            self._transport.write(tls.handshake(data))
        except Refusal as refusal:
            if not self._handshake.done():
                self._handshake.set_exception(refusal)
            self._transport.write(tls.pending())
            self._transport.close()
            return
        if tls.ready and not self._handshake.done():
            self._handshake.set_result(None)

    def _write(self, data: bytes) -> None:
        self._transport.write(data if self._tls is None else self._tls.encrypt(data))

    def _set_deadline(self) -> None:
        if self._consumer is None or self._held:
            return
        timeouts = self._pool.timeouts
        if self._tunnel is not None:
            patience = self._idle
        else:
            patience = timeouts.response if self._complete and not self._in_body else timeouts.idle
        self.deadline = monotonic() + patience

    def _take_head(self, data: bytes, searched: int) -> None:
        """Take heads off `data`: any number of interim ones, then the final one with what came of its body."""
        try:
            while True:
                consumer = self._consumer
                if consumer is None:
                    return
                head = parse_response(data, self._pool.head_limits, searched)
                if head is None:
                    self._buffer = data
                    return
                searched = 0
                data = data[head.size :]
                self._buffer = b""
                if head.status >= 200:
                    break
                if head.status == 101:
                    consumer.response(head, data, done=False)
                    return
                consumer.response(head, b"", done=False)
                if not data:
                    return
            if head.status == 407:  # RFC 9110 §15.5.8: only a proxy asks so, and a client must not be led to answer it
                raise Refusal(_PROTOCOL_ERROR, "an upstream may not ask for a proxy's credential")
            fields = head.fields
            self._keeps_alive = not fields.close and (head.version == 1 or fields.keep_alive)
            if fields.keep_alive_timeout >= 0:
                self._pool.told_timeout(fields.keep_alive_timeout)
            if fields.content_length == len(data) > 0 and not self._head_only and head.status not in (204, 304):
                # All of a counted body came with its head: nothing is left to count.
                self._release(clean=True)
                consumer.response(head, data, done=True)
                return
            if self._head_only or head.status in (204, 304):
                self._body = NO_BODY
            elif fields.chunked:
                self._body = ChunkedBody(_PROTOCOL_ERROR, decode=self._decode, trailers=self._trailers)
            elif fields.content_length >= 0:
                self._body = CountedBody(fields.content_length)
            else:
                self._body = UntilCloseBody()
            self._in_body = True
            body = self._body
            piece, rest = body.feed(data) if data or body.done else (b"", b"")
        except Refusal as refusal:
            self._break(refusal)
            return
        if body.done:
            self._release(clean=not rest)
            consumer.response(head, piece, done=True)
        else:
            self._set_deadline()
            consumer.response(head, piece, done=False)

    def _feed(self, data: bytes) -> None:
        try:
            piece, rest = self._body.feed(data)
        except Refusal as refusal:
            self._break(refusal)
            return
        consumer = self._consumer
        if consumer is None:
            return
        if self._body.done:
            self._release(clean=not rest)
            consumer.piece(piece, done=True)
        else:
            if not self._held:
                self.deadline = monotonic() + self._pool.timeouts.idle
            if piece:
                consumer.piece(piece, done=False)

    def _release(self, *, clean: bool) -> None:
        """The response is whole: back to the pool, or closed when anything about the stream is in doubt."""
        self._consumer = None
        self._in_body = False
        self._buffer = b""
        if self._held:
            self._held = False
            self._transport.resume_reading()
        if clean and self._complete and self._keeps_alive and not self._ended:
            self._pool.released(self)
        else:
            self.deadline = NEVER
            self._transport.abort()

    def _fail(self, *, clean: bool) -> None:
        """The stream ended; a body that lasts until the end may be whole."""
        consumer = self._consumer
        if consumer is None:
            if not self._transport.is_closing():
                self._transport.close()
            return
        self._consumer = None
        self.deadline = NEVER
        self._transport.abort()
        if self._in_body and clean and self._body.end_of_stream():
            self._in_body = False
            consumer.piece(b"", done=True)
            return
        if self._buffer:
            consumer.broken(Refusal(_PROTOCOL_ERROR, "the upstream closed the stream within the header section"))
        else:
            consumer.broken(Refusal(_RESET, "the upstream closed the stream; the request may have been processed"))

    def _take_last_words(self) -> None:
        """A write met a reset before the loop got to read: an early response may still lie in the socket."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as rest:
            while self._consumer is not None and (data := rest.recv(65536, socket.MSG_DONTWAIT)):
                self.data_received(data)

    def _break(self, refusal: Refusal) -> None:
        consumer = self._consumer
        self._consumer = None
        self.deadline = NEVER
        self._transport.abort()
        if consumer is not None:
            consumer.broken(refusal)
