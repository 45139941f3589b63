"""One HTTP/1.1 response read off a stream with a bound on everything: heads, interim responses, body.

llhttp parses; what is decided here is when a response is complete, and that nothing incomplete ever looks complete.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools

from proxy.oauth.failure import EndpointFault, Outcome
from proxy.oauth.response import EndpointAnswer

if TYPE_CHECKING:
    from typing import Any

# All heads together, interim ones too: some servers send kilobytes of policy headers, none sends more.
HEAD_MAX: Final = 64 * 1024
# RFC 9110 §15.2 sets no end to interim responses; a flood of them would be one without.
INTERIM_MAX: Final = 16


class AnswerStream(asyncio.Protocol):
    """Reads one response; `answer` becomes an `EndpointAnswer` or raises `EndpointFault`.

    `body_max` is in bytes of the body as it was sent. What comes after a complete response is not looked at.
    """

    def __init__(self, body_max: int) -> None:
        self.answer: asyncio.Future[EndpointAnswer] = asyncio.get_running_loop().create_future()
        self._body_max = body_max
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._interim = 0
        self._head_bytes = 0
        self._head_done = False
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    # ------------------------------------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its shape, not its class

    def data_received(self, data: bytes) -> None:
        """Parse, at most up to the bound of the heads at a time."""
        view = memoryview(data)
        while view and not self.answer.done():
            room = len(view) if self._head_done else HEAD_MAX - self._head_bytes
            piece, view = view[:room], view[room:]
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._fail(Outcome.MALFORMED, "token_response_protocol")  # 101, though nothing asked for an upgrade
            except httptools.HttpParserError:
                self._fail(Outcome.MALFORMED, "token_response_protocol")
            if not self._head_done:
                self._head_bytes += len(piece)
                if self._head_bytes >= HEAD_MAX:
                    self._fail(Outcome.MALFORMED, "token_response_too_large")

    def connection_lost(self, error: Exception | None) -> None:
        """Decide what an end means: completion only where the end is the framing, and was orderly."""
        if self.answer.done():
            return
        if not self._head_done:
            reason = "" if error is None else type(error).__name__
            self._fail(Outcome.TRANSPORT, "token_endpoint_reset", reason)
        elif error is None and not self._framed():
            self._complete()
        else:
            self._fail(Outcome.MALFORMED, "token_response_incomplete")

    # -------------------------------------------------------------------------------------------- callbacks of llhttp

    def on_message_begin(self) -> None:
        """Begin a response, interim or final."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the response."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        """Count an interim response, or begin the body of the final one."""
        if self._parser.get_status_code() >= 200:
            self._head_done = True
            return
        self._interim += 1
        if self._interim > INTERIM_MAX:
            self._fail(Outcome.MALFORMED, "token_response_protocol")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(data)
        if self._body_bytes > self._body_max:
            self._fail(Outcome.MALFORMED, "token_response_too_large")
        elif not self.answer.done():
            self._body.append(bytes(data))

    def on_message_complete(self) -> None:
        """End the response, unless it was an interim one."""
        if self._head_done and not self.answer.done():
            self._complete()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _framed(self) -> bool:
        """Tell whether the response says itself where it ends."""
        return any(name in {"content-length", "transfer-encoding"} for name, _ in self._headers)

    def _complete(self) -> None:
        status = self._parser.get_status_code()
        self.answer.set_result(EndpointAnswer(status, tuple(self._headers), b"".join(self._body)))

    def _fail(self, outcome: Outcome, code: str, reason: str = "") -> None:
        if not self.answer.done():
            self.answer.set_exception(EndpointFault(outcome, code, reason=reason))
            self.answer.exception()  # seen: whoever waited for it may have given up
        if self._transport is not None:
            self._transport.abort()
