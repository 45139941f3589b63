"""The stream of one application: requests come in one after the other, each becomes an exchange.

A word on length: asyncio's callbacks and the exchange's port `Client` are two views of one small state.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import Refusal
from proxy.exchange.connect import Connect
from proxy.exchange.flow import Exchange
from proxy.exchange.plan import Plan
from proxy.inbound.demands import CONNECTED, check_demands, ends_here, late_body, late_head, nothing_more, own_answer
from proxy.inbound.peer_socket import reset, was_reset
from proxy.inbound.rules import Page, Peer
from proxy.problem import PROBLEMS
from proxy.wire.framing import NO_BODY, request_body
from proxy.wire.heads import parse_request
from proxy.wire.reader import Reader, as_protocol
from proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    import asyncio

    from proxy.exchange.stream import TunnelEnd
    from proxy.inbound.listener import Listener
    from proxy.inbound.rules import Crossing, Rules
    from proxy.wire.framing import Body
    from proxy.wire.request import RequestHead

_AHEAD_MAX: Final = 64 * 1024  # bytes of later requests that are read while one is under way
_LINGER: Final = 1.0  # seconds: time for an answer to be read before a reset could destroy it
_LOOK: Final = 1.0  # seconds: how often a stream that is not read is asked whether its client is still there


class Downstream(Reader):
    """One stream from an application; fills the exchange's port `Client`.

    `deadline` is for the sweep: a head that drips, a body that stalls, an idle stream, a client that does not read.
    `rules` are those of the listener unless this stream has its own.
    """

    __slots__ = (
        "_ahead", "_body", "_ended", "_exchange", "_has_own_rules", "_held", "_host_allowed", "_lingering", "_listener",
        "_peer", "_rules", "_serving", "_transport", "_tunnel", "_unsent", "_write_blocked", "deadline",
    )  # fmt: skip

    _transport: asyncio.Transport
    _peer: Peer

    def __init__(self, listener: Listener, rules: Rules | None = None) -> None:
        self._listener = listener
        self._rules: Rules = listener.rules if rules is None else rules
        self._has_own_rules = rules is not None
        self._ahead = b""
        self._body: Body = NO_BODY
        self._exchange: Exchange | Connect | None = None
        self._tunnel: TunnelEnd | None = None
        self._ended = False
        self._held = False
        self._host_allowed = b""
        self._lingering = False
        self._serving = False
        self._unsent = 0
        self._write_blocked = False
        self.deadline = NEVER

    # Reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stream was accepted."""
        # uvloop's transports are none of asyncio's classes, only of their shape.
        transport = self._transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=65536)
        listener = self._listener
        self._peer = Peer.of(transport)
        self.deadline = monotonic() + listener.limits.head_timeout
        listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.deadline = NEVER
        self._listener.closed(self)
        if self._tunnel is not None:
            self._tunnel.lost()
        elif self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.client_left()

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a tunnel, of the body of the request under way, or of the next request."""
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        if self._lingering:
            return
        if self._exchange is not None and not self._body.done:
            self._feed(self._exchange, data)
        elif self._exchange is None and not self._write_blocked:
            searched = len(self._ahead)
            self._serve(self._ahead + data if searched else data, searched)
        else:
            self._ahead += data
            if len(self._ahead) > _AHEAD_MAX:
                self._transport.pause_reading()

    def reading(self) -> asyncio.Transport | None:
        """Not while the request's body is held, or enough of the next requests is here."""
        return None if self._held or len(self._ahead) > _AHEAD_MAX else self._transport

    def eof_received(self) -> bool:
        """A FIN: a half-close after a complete request, an abort within one. TLS knows no half-close."""
        self._ended = True
        stays = not self._peer.tls
        if self._tunnel is not None:
            self._tunnel.from_client(b"")
            return stays
        if self._exchange is not None:
            self._check_whole(self._exchange)
            return stays  # the response is still delivered
        if self._ahead and self._write_blocked:
            return stays  # what waits there may be whole requests
        if self._ahead.strip(b"\r\n") and not self._lingering:  # blank lines are no request
            self._refuse(Refusal(PROBLEMS["bad_request"], "the stream ended within a request head"))
            return stays
        return False

    def _check_whole(self, exchange: Exchange | Connect) -> None:
        """The stream has ended: what is still to come of a request's body never will."""
        if not self._body.done:
            exchange.spoilt(Refusal(PROBLEMS["bad_request"], "the stream ended within the request's body"))

    def pause_writing(self) -> None:
        """The application reads slower than the upstream sends."""
        self._write_blocked = True
        self._unsent = self._transport.get_write_buffer_size()
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.client_blocked(on=True)

    def resume_writing(self) -> None:
        """The application caught up."""
        self._write_blocked = False
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.client_blocked(on=False)
        elif self._tunnel is None and not self._lingering and not self._serving:
            self._next()

    # The sweep

    def expired(self) -> None:
        """What was waited for did not come in time."""
        if self._write_blocked:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:  # slow, but alive
                self._unsent = unsent
                self._set_deadline()
                return
            self._listener.slow()
            self.cut()
            return
        self.deadline = NEVER
        if self._held and not was_reset(self._transport):
            self._set_deadline()
        elif self._lingering or self._held:
            self._transport.abort()
        elif self._exchange is not None:
            self._listener.slow()
            self._exchange.spoilt(late_body())
        elif self._ahead:
            self._listener.slow()
            self._refuse(late_head())
        else:
            self._close()

    def _set_deadline(self) -> None:
        limits = self._listener.limits
        if self._write_blocked:
            self.deadline = monotonic() + limits.write_idle
        elif self._held:
            self.deadline = monotonic() + _LOOK
        elif self._exchange is not None:
            self.deadline = NEVER if self._body.done else monotonic() + limits.body_idle
        elif self._lingering:
            self.deadline = monotonic() + _LINGER

    # Requests

    def _serve(self, data: bytes, searched: int = 0) -> None:
        """Begin as many of the requests in `data` as get their answer at once, one after the other."""
        listener = self._listener
        self._serving = True
        while data and self._exchange is None and not self._lingering and not self._transport.is_closing():
            if self._write_blocked:  # who reads no answers gets no more of them: `resume_writing` goes on
                break
            try:
                head = parse_request(data, listener.head_limits, searched)
                searched = 0
                if head is None:
                    break
                data = data[head.size :]
                data = self._begin(head, data)
            except Refusal as refusal:
                data = b""
                self._refuse(refusal)
        self._serving = False
        was_waiting = bool(self._ahead)
        self._ahead = data
        if self._lingering or self._exchange is not None:
            return
        if not data:
            self.deadline = monotonic() + listener.limits.keep_alive
            if listener.leaving or listener.surroundings.closing:
                self._close()
        elif not was_waiting:
            self.deadline = monotonic() + listener.limits.head_timeout
        if self._write_blocked:
            self._set_deadline()
            if data:
                if len(data) > _AHEAD_MAX:
                    self._transport.pause_reading()
                return
        if self._ended:
            self._close()

    def _next(self) -> None:
        """Go on with what came ahead, or wait for the next request; not while the application reads no answers."""
        if self._ahead:
            if not self._write_blocked:
                ahead, self._ahead = self._ahead, b""
                if len(ahead) > _AHEAD_MAX:
                    self._transport.resume_reading()
                self._serve(ahead)
        elif self._ended or self._listener.surroundings.closing:
            self._close()
        elif not self._write_blocked:
            self.deadline = monotonic() + self._listener.limits.keep_alive

    def _begin(self, head: RequestHead, data: bytes) -> bytes:
        """Start the exchange of one head; returns what lies beyond its body."""
        listener, rules = self._listener, self._rules
        fields = head.fields
        body: Body = NO_BODY
        self._body, piece = body, b""
        if not fields.ordinary and head.has_body and head.method != b"CONNECT":
            body = self._body = request_body(fields)
            piece, data = body.feed(data)
        try:
            if not fields.ordinary:
                check_demands(fields, listener.surroundings.via_tag)
            found = rules.find(head, self._peer, host_allowed=fields.host == self._host_allowed != b"")
            if not isinstance(found, Plan):
                return self._other(found, head, data)
            if not fields.ordinary and ends_here(head):
                closes = not body.done or not head.keeps_alive
                listener.surroundings.record_own(200, head)
                self.send(nothing_more(close=closes))
                return self._answered(data, closes=closes)
        except Refusal as refusal:
            # What follows a CONNECT was meant for somebody else: it is never read as a request.
            closes = not body.done or not head.keeps_alive or head.method == b"CONNECT"
            self._answer(refusal, head, close=closes)
            return self._answered(data, closes=closes)
        self._host_allowed = fields.host
        surroundings, strips = listener.surroundings, rules.strips_authorization
        if surroundings.exchange is Exchange:  # its name is known to the compiler: a third of what other calls cost
            exchange = self._exchange = Exchange(surroundings, self, found, head, strip_authorization=strips)
        else:
            exchange = self._exchange = surroundings.exchange(
                surroundings, self, found, head, strip_authorization=strips
            )
        if body.done and not self._write_blocked:
            self.deadline = NEVER
        else:
            self._set_deadline()
        exchange.start(piece, done=body.done)
        if self._ended:  # the request came ahead, and the FIN behind it
            self._check_whole(exchange)
        return data

    def _answered(self, data: bytes, *, closes: bool) -> bytes:
        """Go on behind an answer of ours; the rest of a body that nobody wants is never read as a request."""
        if not closes:
            return data
        self._close_gracefully(linger=True)
        return b""

    def _other(self, found: Page | Crossing, head: RequestHead, data: bytes) -> bytes:
        """Answer with a page of ours, or let a CONNECT pass; what follows is never read as a request."""
        surroundings = self._listener.surroundings
        if isinstance(found, Page):
            surroundings.record_own(found.status, head)
            self.send(found.response)
            self._close_gracefully(linger=True)
            return b""
        interceptor = found.interceptor
        if interceptor is None:
            connect = self._exchange = Connect(
                surroundings, self, found.host, found.port, found.streams, counters=surroundings.unmatched
            )
            self.deadline = NEVER
            connect.start(data)
            return b""
        protocol = interceptor.protocol(self._listener, found)
        surroundings.record_own(200, head)
        self.send(CONNECTED)
        data = self.hand_over(protocol) + data
        if data:
            protocol.data_received(data)
        return b""

    def _feed(self, exchange: Exchange | Connect, data: bytes) -> None:
        try:
            piece, rest = self._body.feed(data)
        except Refusal as refusal:
            self._body = NO_BODY
            exchange.spoilt(refusal)
            if self._exchange is None and not self._lingering:
                self._close_gracefully()
            return
        self._ahead = rest
        self._set_deadline()
        exchange.body(piece, done=self._body.done)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never became a request; where the next one would begin is unknown, so the stream is closed."""
        self._ahead = b""
        self._answer(refusal, None, close=True)
        self._close_gracefully(linger=True)

    def _answer(self, refusal: Refusal, head: RequestHead | None, *, close: bool) -> None:
        head_only = head is not None and head.method == b"HEAD"
        request_id = self._listener.surroundings.record_unmatched(refusal.problem, head)
        self.send(own_answer(refusal, self._rules, request_id, close=close, head_only=head_only))

    # The exchange's port

    def send(self, data: bytes) -> None:
        """Write to the application."""
        self._transport.write(data)

    def finish(self, *, reuse: bool) -> None:
        """The exchange is over: the next request, or the end."""
        crossed = isinstance(self._exchange, Connect)
        self._exchange = None
        self._tunnel = None
        listener = self._listener
        if not reuse or not self._body.done or listener.leaving:
            # What was sent ahead may still be on its way.
            self._close_gracefully(linger=crossed or self._ahead != b"")
            return
        if self._held:
            self.hold(on=False)
        if not self._serving:
            self._next()

    def abort(self) -> None:
        """Reset the stream; the exchange knows."""
        self._exchange = None
        self._tunnel = None
        self.cut()

    def cut(self) -> None:
        """Reset the stream; its exchange or tunnel hears of it as of a client that left."""
        reset(self._transport)

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading the request's body."""
        if on is self._held or self._transport.is_closing():
            return
        self._held = on
        if on:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        self._set_deadline()

    def tunnel(self, tunnel: TunnelEnd) -> bytes:
        """From now on bytes are the tunnel's."""
        self._tunnel = tunnel
        self.deadline = NEVER
        early, self._ahead = self._ahead, b""
        if len(early) > _AHEAD_MAX:
            self._transport.resume_reading()
        if self._ended:  # the half-close came before there was a tunnel to pass it on
            self._listener.surroundings.loop.call_soon(tunnel.from_client, b"")
        return early

    def hand_over(self, protocol: Reader) -> bytes:
        """Let `protocol` have the stream, which is none of ours any more; returns the bytes that are here already."""
        early, self._ahead = self._ahead, b""
        self._lingering = True
        self._listener.closed(self)
        self._transport.set_protocol(as_protocol(protocol))
        protocol.connection_made(self._transport)
        return early

    def end_tunnel(self) -> None:
        """Half-close towards the application."""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # The end

    def turn_away(self, data: bytes) -> None:
        """Say why there is no place, and close."""
        self.send(data)
        self._close_gracefully(linger=True)

    def rules_changed(self, rules: Rules) -> None:
        """Let these rules decide, unless this stream has its own; who passed before may not pass any more."""
        if not self._has_own_rules:
            self._rules = rules
        self._host_allowed = self._peer.passed = b""

    def close_when_idle(self) -> None:
        """Draining: close now if no request is under way."""
        if self._exchange is None and self._tunnel is None and not self._ahead and not self._lingering:
            self._close()

    def _close_gracefully(self, *, linger: bool = False) -> None:
        """Close so that what was written is read: half-close, then discard for a moment what still comes."""
        self._exchange = None
        is_paused = self.reading() is None  # what is left in the socket would make it a reset
        self._ahead = b""
        if self._lingering or self._transport.is_closing():
            return
        if self._ended or (self._body.done and not is_paused and not linger):
            self._close()
            return
        self._lingering = True
        if is_paused:
            self._held = False
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._await_reader()
        self._set_deadline()

    def _close(self) -> None:
        """Close once all is sent."""
        self._await_reader()
        self._transport.close()

    def _await_reader(self) -> None:
        """From now on whatever is unsent counts as blocked: a client that takes none of it is cut in the end."""
        self._transport.set_write_buffer_limits(high=0)
