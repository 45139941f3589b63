"""The servers behind `iclient-proxy demo --faults`: each fault has a token endpoint and an API, and all is counted.

They know nothing of who calls them. What is counted is told at `/faults/counts` of both servers.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Self

from proxy.demo.definition import Ports
from proxy.demo.faults import PAUSE_SECONDS
from proxy.demo.served import Asked, FaultServed, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from proxy.clock import Clock
    from proxy.demo.faults import Fault

COUNTS: Final = "/faults/counts"
RESET: Final = "/faults/reset"
# More than any test sends; a longer body is a mistake, and is not kept.
_MOST_BYTES: Final = 64 * 1024 * 1024


class FaultyWorld(AbstractContextManager["FaultyWorld"]):
    """An API and an authorization server with a path for each fault, for the length of a `with`.

    The ports are those of `config/demo.yaml` as far as nobody has them, else any free ones.
    """

    def __init__(self, faults: Sequence[Fault], client_secret: str, lifetime: int, clock: Clock) -> None:
        self.served = {fault.name: FaultServed(fault, client_secret, lifetime, clock) for fault in faults}
        self.api = ""
        self.authorization_server = ""
        self._ended = Event()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        usual = Ports()
        self.api = self._serve(usual.api, lambda served, asked: served.api(asked))
        self.authorization_server = self._serve(usual.authorization_server, _only_token_requests)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._running.close()

    def token_url(self, name: str) -> str:
        """Return the token endpoint of a fault."""
        return f"{self.authorization_server}/{name}/token"

    def api_url(self, name: str) -> str:
        """Return what stands before the paths of a fault's API."""
        return f"{self.api}/{name}"

    def counts(self) -> dict[str, dict[str, object]]:
        """Return the counts of every fault."""
        return {name: served.counts() for name, served in self.served.items()}

    def _serve(self, port: int, answer: Callable[[FaultServed, Asked], Reply]) -> str:
        def answered(asked: Asked) -> Reply:
            if (asked.method, asked.path) == ("GET", COUNTS):
                return json_reply(200, self.counts())
            if (asked.method, asked.path) == ("POST", RESET):
                for each in self.served.values():
                    each.reset()
                return json_reply(200, self.counts())
            name, _, rest = asked.path.removeprefix("/").partition("/")
            served = self.served.get(name)
            if served is None:
                return json_reply(404, {"error": "no such fault here", "faults": list(self.served)})
            return answer(served, Asked(asked.method, f"/{rest}", asked.authorization, asked.body))

        try:
            server = _Server(port, answered, self._ended)
        except OSError:
            server = _Server(0, answered, self._ended)
        self._running.enter_context(server)
        return f"http://127.0.0.1:{server.server_port}"


def _only_token_requests(served: FaultServed, asked: Asked) -> Reply:
    if (asked.method, asked.path.partition("?")[0]) != ("POST", "/token"):
        return json_reply(404, {"error": "token requests are POST …/token"})
    return served.token(asked)


class _Server(ThreadingHTTPServer):
    """Answers on a thread per stream; `ended` cuts every wait short."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # dozens of streams are opened at once

    def __init__(self, port: int, answer: Callable[[Asked], Reply], ended: Event) -> None:
        self.answer = answer
        self.ended = ended
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="faulty server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # the library's types
        """Say nothing of a caller that left: some are here to do that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One stream of HTTP/1.1."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes; waiting for the first to be acknowledged would take 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            self.send_error(400)
            return
        asked = Asked(self.command, self.path, self.headers.get("Authorization", ""), body)
        reply = self.server.answer(asked)
        if reply.after:
            self.server.ended.wait(reply.after)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        if reply.status == 401:
            self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        if reply.later:
            self.send_header("Cache-Control", "no-store")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._chunk(reply.body)
            self.server.ended.wait(PAUSE_SECONDS)
            self._chunk(reply.later)
            self._chunk(b"")
            return
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # the library's names

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _body(self) -> bytes | None:
        """Read the body to its end; None if its frame can't be read."""
        try:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self._exactly(int(self.headers.get("Content-Length", "0")))
            parts = []
            while size := int(self.rfile.readline(1024).partition(b";")[0], 16):
                parts.append(self._exactly(size))
                self.rfile.readline(3)
            while self.rfile.readline(65536).strip():
                pass  # trailers
        except ValueError:
            return None
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_BYTES:
            raise ValueError(size)
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionResetError
        return data

    def log_message(self, *_: object) -> None:
        """Say nothing: the counts tell."""
