"""One exchange: a downstream request on its way to the upstream and back, at most twice.

A machine of callbacks rather than a coroutine, because a task per request would cost more than all it does; every
decision is made by a pure function of `rewrite`, `classify` or `policy`. `phase` names where it can be.
A word on length: each callback is a few lines over the same state; apart, none of them would tell its story.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.exchange.admit import admit
from proxy.exchange.document import Unread
from proxy.exchange.judgement import Judgement, accepted
from proxy.exchange.phase import Phase
from proxy.exchange.policy import Next, may_replay, may_replay_ever
from proxy.exchange.record import ExchangeRecord
from proxy.exchange.replay import HeldResponse
from proxy.exchange.rewrite import binds_stream, ends_stream, request_head, response_head, upstream_target
from proxy.exchange.tunnel import Tunnel
from proxy.exchange.upload import NO_UPLOAD, Upload
from proxy.problem import PROBLEMS, PROXY_NAME

if TYPE_CHECKING:
    import asyncio

    from proxy.access_token import AccessToken
    from proxy.exchange.aim import Aim
    from proxy.exchange.plan import Plan, TokenSource
    from proxy.exchange.stream import Client, Stream
    from proxy.exchange.surroundings import Surroundings
    from proxy.wire.request import RequestHead
    from proxy.wire.response import ResponseHead

_JOINED_MAX: Final = 16 * 1024  # a larger piece is cheaper written by itself than copied behind its head
INTERIM_MAX: Final = 16  # 1xx responses before the final one; a flood of them would never end (RFC 9110 §15.2)
_CLIENT_LEFT: Final = 499  # nginx' number for a client that closed first; only the log sees it
_NOT_REPLAYABLE: Final = f'Proxy-Status: {PROXY_NAME}; details="auth-retry-not-replayable"\r\n'.encode()
# Python 3.11 looks a member of an Enum up by a function of its own (150 ns).
_TOKEN, _STREAM, _RESPONSE, _INSPECTION, _RENEWAL, _BODY, _TUNNEL, _OVER = Phase
_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"


class Exchange:
    """See the module's first lines. Fills the ports `Waiter`, `Uploader`, `Judged`; an upgrade feeds a `Tunnel`.

    `record` is what it leaves behind.
    """

    __slots__ = (
        "_added", "_aim", "_began", "_client", "_closes", "_head", "_held", "_interim", "_judgement", "_own_credential",
        "_phase", "_plan", "_relayed", "_repeatable", "_sent_at", "_stream", "_streams", "_strip", "_surroundings",
        "_target", "_task", "_token", "_token_asked_at", "_tunnel", "_upload", "record",
    )  # fmt: skip

    def __init__(
        self, surroundings: Surroundings, client: Client, plan: Plan, head: RequestHead, *, strip_authorization: bool
    ) -> None:
        self._surroundings = surroundings
        self._client = client
        self._plan = plan
        self._head = head
        self._strip = strip_authorization
        self._began = perf_counter()
        self.record = ExchangeRecord(plan.name, head.method, head.target)
        self._phase = _TOKEN
        self._token: AccessToken | None = None
        self._repeatable = False
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._tunnel: Tunnel | None = None
        self._relayed = False
        self._streams = False
        self._closes = False
        self._own_credential = False
        self._added = b""
        self._held: HeldResponse | None = None
        self._judgement: Judgement | None = None
        self._interim = 0
        self._sent_at = 0.0
        self._token_asked_at = 0.0
        surroundings.counters.in_flight += 1

    # The request comes in

    def start(self, piece: bytes, *, done: bool) -> None:
        """Begin, with what came of the body so far. Raises nothing: a refusal becomes the answer."""
        plan, head = self._plan, self._head
        upload = self._upload = NO_UPLOAD if done and not piece else Upload(piece, done=done)
        surroundings, tokens = self._surroundings, plan.tokens
        try:
            if head.upgrade or not plan.admits_all:
                self._own_credential = admit(plan, head, surroundings, strip_authorization=self._strip)
            if plan.aim is not None:
                self._aim_at(plan.aim)
        except Refusal as refusal:
            self._answer(refusal)
            return
        if tokens is None or (self._own_credential and not plan.aims.needs_token):
            self._send()
            return
        if plan.replays_all or may_replay_ever(plan.replay, head.method):
            self._repeatable = head.fields.content_length <= plan.replay.body_limit
            if upload is not NO_UPLOAD and self._repeatable and head.has_body:
                upload.keep(plan.replay.body_limit, surroundings.memory)
        token = self._token = tokens.take()
        if token is None:
            self._wait_for_token(tokens)
            return
        self._send()

    def body(self, piece: bytes, *, done: bool) -> None:
        """Take more of the request's body."""
        if self._phase is _OVER:
            return
        self._upload.add(piece, done=done)
        if self._stream is not None and self._phase is not _RENEWAL:
            self._stream.send(piece, complete=done)
        elif self._phase is not _BODY and self._upload.wait(piece):
            self._client.hold(on=True)

    def spoilt(self, refusal: Refusal) -> None:
        """The request's body breaks its framing or stays away: answer if nothing was relayed, else end both sides."""
        if self._phase is _OVER:
            return
        if self._phase is _BODY:
            self.record.status = self.record.status or refusal.problem.status
            self._end_upstream()
            self._close_record()
            self._client.abort()
            return
        self._answer(refusal)

    def client_left(self) -> None:
        """The application is gone: the upstream request is aborted, a shared renewal is not."""
        if self._phase is _OVER:
            return
        if self._tunnel is not None:
            self._tunnel.lost()
            return
        if self._phase is not _BODY:
            self.record.status = _CLIENT_LEFT
        self._end_upstream()
        self._close_record()

    def client_blocked(self, *, on: bool) -> None:
        """The application takes no more (or takes again)."""
        if self._stream is not None and self._phase is not _RENEWAL:
            self._stream.hold(on=on)

    # A token is found, the request is sent

    def _wait_for_token(self, tokens: TokenSource) -> None:
        self._token_asked_at = perf_counter()
        self._task = self._surroundings.loop.create_task(self._await_token(tokens), name=f"token for {self._plan.name}")

    async def _await_token(self, tokens: TokenSource) -> None:
        try:
            token = await tokens.wait()
        except Refusal as refusal:
            self._task = None
            self.record.seconds_token += perf_counter() - self._token_asked_at
            self._no_token(refusal)
            return
        self._task = None
        self.record.seconds_token += perf_counter() - self._token_asked_at
        if self._phase is _RENEWAL:
            self._replay(token)
        elif self._phase is _TOKEN:
            self._token = token
            self._send()

    def _no_token(self, refusal: Refusal) -> None:
        if self._phase is _RENEWAL:  # the upstream's own words are the best answer there is
            self._release_held()
        elif self._plan.connection.on_no_token == "passthrough" and not self._plan.aims.needs_token:
            self._send()
        else:
            self._answer(refusal)

    def _send(self) -> None:
        plan = self._plan
        if plan.aim is None:  # a matter of the token
            try:
                self._aim_at(plan.aims.of(self._token, bare=self._own_credential))
            except Refusal as refusal:
                self._answer(refusal)
                return
        if self._own_credential:
            self._token = None
        self.record.attempts += 1
        self.record.host_line = self._aim.host_line
        stream = self._aim.streams.take(self._client)
        if stream is None:
            self._phase = _STREAM
            self._aim.streams.open(self)
            return
        self.opened(stream)

    def _aim_at(self, aim: Aim) -> None:
        plan = self._plan
        self._aim = aim
        self._target = upstream_target(aim.base_path, self._head.target[plan.strip :], guards_dots=plan.guards_dots)

    def opened(self, stream: Stream) -> None:
        """Write the request on the stream that is ours now."""
        head = self._head
        self._phase = _RESPONSE
        self._stream = stream
        data = request_head(self._plan, self._aim, head, self._target, self._token, strip_authorization=self._strip)
        upload = self._upload
        if upload is not NO_UPLOAD:
            waiting, held = upload.take()
            if held:
                self._client.hold(on=False)
            data += waiting
        self._sent_at = perf_counter()
        stream.begin(
            self,
            data,
            complete=upload.done,
            head_only=head.method == b"HEAD",
            decode=head.version == 0,
            trailers=head.fields.trailers,
            owner=self._client if head.fields.authorization and binds_stream(data) else None,
        )

    def upload_blocked(self, *, on: bool) -> None:
        """The upstream takes no more of the body (or takes again)."""
        self._client.hold(on=on)

    # The response comes back

    def response(self, head: ResponseHead, piece: bytes, *, done: bool) -> None:
        """Judge a response head, then relay it or hold it back for a second attempt."""
        status = head.status
        if status < 200:
            self._interim_response(head, piece)
            return
        plan = self._plan
        now = perf_counter()
        self.record.seconds_upstream += now - self._sent_at
        self._sent_at = now
        if done:
            self._stream = None
        token, verdicts = self._token, plan.verdicts
        if token is not None and verdicts is not None:
            if plan.classifier.suspects[status]:
                self._judge(HeldResponse(head, piece, done=done), token)
                return
            if self.record.renewed or verdicts.unproven:
                accepted(plan, self.record, token)
        self._relay(head, piece, done=done)

    def _judge(self, held: HeldResponse, token: AccessToken) -> None:
        """Hold a response while the rules are asked."""
        self._phase = _INSPECTION
        self._held = held
        self._judgement = Judgement(self, self._surroundings, self._plan, self.record, token, held)
        self._judgement.begin(self._head)

    def judged(self, held: HeldResponse, way: Next) -> None:
        """Relay what was held, or hold it on: it is relayed after all if no other token can be had."""
        self._judgement = None
        token, tokens = self._token, self._plan.tokens
        if way is Next.REPLAY and token is not None and tokens is not None:
            self._phase = _RENEWAL
            if self._stream is not None:
                self._stream.hold(on=True)
            self._renew(token, tokens)
            return
        if way is Next.RELAY_AND_RENEW:
            self._added = _NOT_REPLAYABLE
        self._held = None
        self._relay(held.head, held.body, done=held.done)

    def _renew(self, refused: AccessToken, tokens: TokenSource) -> None:
        newer = tokens.take()
        if newer is not None and newer is not refused:
            self._replay(newer)
        else:
            self._wait_for_token(tokens)

    def is_replayable(self, status: int) -> bool:
        """Whether the request could be sent once more: all of it is at hand and nothing has been relayed."""
        if not self._repeatable or self._relayed or not may_replay(self._plan.replay, self._head.method, status):
            return False
        upload = self._upload
        # Or the application still waits for "100 Continue": it sent nothing of the body yet (RFC 9110 §10.1.1).
        return upload.is_at_hand or (bool(self._head.fields.expects) and upload.size == 0)

    def _replay(self, token: AccessToken) -> None:
        self._end_upstream()
        self._held = None
        self._token = token
        self.record.renewed = True
        self._upload.rewind()
        self._send()

    def _release_held(self) -> None:
        held, stream = self._held, self._stream
        if held is None:
            return
        self._held = None
        if stream is not None:
            stream.hold(on=False)  # first: what is relayed may block the client, and that holds the stream again
        self._relay(held.head, held.body, done=held.done)
        if stream is None and not held.done:  # the upstream broke off while its response was held
            self._close_record()
            self._client.abort()

    def _relay(self, head: ResponseHead, piece: bytes, *, done: bool) -> None:
        request, fields, record = self._head, head.fields, self.record
        self._phase = _BODY
        record.status = head.status
        decoded = fields.chunked and request.version == 0
        lasts = request.keeps_alive and fields.content_length >= 0  # so most do, and need not be asked more
        self._closes = (
            not self._upload.done
            or self._surroundings.closing
            or (not lasts and ends_stream(request, head, decoded=decoded))
        )
        added = self._added + (_CLOSE if self._closes else _KEEP_ALIVE if request.version == 0 else b"")
        data = response_head(self._aim, head, self._target, added=added, decoded=decoded)
        self._relayed = True
        record.bytes_out = len(piece)
        if len(piece) > _JOINED_MAX:
            self._client.send(data)
            data = b""
        self._client.send(data + piece if piece else data)
        self._streams = not done
        if done:
            self._finish()
        else:
            self._upload.drop()  # there is no second attempt any more, and this response may last for hours

    def _interim_response(self, head: ResponseHead, rest: bytes) -> None:
        self._interim += 1
        if head.status == 101:
            self._upgraded(head, rest)
            return
        if self._interim > INTERIM_MAX:
            self._answer(Refusal(PROBLEMS["upstream_protocol_error"], f"more than {INTERIM_MAX} interim responses"))
            return
        if self._head.version == 0 or (head.status == 100 and not self._head.fields.expects):
            return
        self._relayed = True
        self._client.send(response_head(self._aim, head, self._target, added=b"", decoded=False))

    def piece(self, data: bytes, *, done: bool) -> None:
        """Relay more of the response's body."""
        if done:  # before any write, which may block and would then hold a stream that is lent to somebody else
            self._stream = None
        if self._held is not None:  # a rule waits for it, or it was on its way when reading was stopped
            self._held.add(data, done=done)
            if self._judgement is not None:
                self._judgement.more()
            return
        self.record.bytes_out += len(data)
        if data:
            self._client.send(data)
        if done:
            self._finish()

    def broken(self, refusal: Refusal) -> None:
        """There is no stream, or it failed: an own answer if no head was relayed, else a visible cut."""
        self._stream = None
        if self._phase is _OVER:
            return
        judged = self._judgement is not None
        if self._judgement is not None:
            self._judgement.give_up(Unread.BROKEN_OFF)
        if self._phase is _BODY:
            self._close_record()
            self._client.abort()
        elif not judged and self._phase is not _RENEWAL:  # a second attempt does not need what broke off
            self._answer(refusal)

    # An upgrade

    def _upgraded(self, head: ResponseHead, rest: bytes) -> None:
        asked = self._head.upgrade
        stream = self._stream
        if stream is None or not asked or head.fields.upgrade != asked:
            self._answer(Refusal(PROBLEMS["upgrade_failed"], "the upstream switches to a protocol nobody asked for"))
            return
        self._phase = _TUNNEL
        self.record.status = 101
        self._relayed = self._streams = True
        accepted(self._plan, self.record, self._token)
        surroundings = self._surroundings
        surroundings.counters.tunnels_open += 1
        added = b"Connection: Upgrade\r\nUpgrade: " + asked + b"\r\n"
        data = response_head(self._aim, head, self._target, added=added, decoded=False) + rest
        self._tunnel = Tunnel(self._client, stream, self._tunnel_closed)
        self._tunnel.open(data, surroundings.tunnel_idle)

    def _tunnel_closed(self, bytes_in: int, bytes_out: int) -> None:
        self._surroundings.counters.tunnels_open -= 1
        self._stream = None
        self.record.bytes_out = bytes_out
        self._close_record(bytes_in)

    # The end

    def _answer(self, refusal: Refusal) -> None:
        """End with an own answer; the upstream request, if any, is given up."""
        if self._phase is _OVER:
            return
        self._end_upstream()
        self.record.status = refusal.problem.status
        closes = not self._upload.done or not self._head.keeps_alive or self._surroundings.closing
        head_only = self._head.method == b"HEAD"
        data = self._surroundings.reply(self.record, refusal, close=closes, head_only=head_only)
        self._close_record()
        self._client.send(data)
        self._client.finish(reuse=not closes)

    def _finish(self) -> None:
        self._close_record()
        self._client.finish(reuse=not self._closes)

    def _end_upstream(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._judgement is not None:
            self._judgement.drop()
            self._judgement = None
        if self._phase is _STREAM:
            self._aim.streams.forget(self)
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _close_record(self, bytes_in: int = 0) -> None:
        """Leave the one record of this exchange."""
        self._phase = _OVER
        record, now, upload = self.record, perf_counter(), self._upload
        record.seconds_total = now - self._began
        if self._streams:
            record.seconds_upstream += now - self._sent_at
        record.bytes_in = bytes_in or upload.size
        if upload is not NO_UPLOAD:
            upload.drop()
        self._surroundings.over(self._plan, record, self._token)
