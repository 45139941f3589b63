"""The embedded authorization server and API: they know nothing of the proxy, and keep count of what reaches them."""

from __future__ import annotations

import base64
import json
import secrets
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs

from proxy.demo.definition import CLIENT_ID, Ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Breakage(StrEnum):
    """What goes wrong on purpose, so that a test can see the demo notice it."""

    NOTHING = "nothing"
    # The authorization server issues no token at all.
    ISSUING = "issuing"
    # It issues one token and never a second.
    RENEWAL = "renewal"
    # The API forgets that it revoked a token.
    REVOCATION = "revocation"
    # The API refuses new tokens too, once it has revoked one.
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one of the servers answers: a status and JSON."""

    status: HTTPStatus
    content: object
    fields: tuple[tuple[str, str], ...] = ()


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    authorization: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """One request for data as the API saw it: the token it bore, "" without one, and the status it got."""

    token: str
    status: int


@dataclass
class AuthorizationServer:
    """Issues tokens to the one client it knows; `requests` counts how often it was asked."""

    client_secret: str
    breakage: Breakage = Breakage.NOTHING
    requests: int = 0
    issued: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> Reply:
        """Answer a token request (RFC 6749 §4.4)."""
        if (asked.method, asked.path) != ("POST", "/oauth/token"):
            return Reply(HTTPStatus.NOT_FOUND, {"error": "not_found"})
        self.requests += 1
        expected = base64.b64encode(f"{CLIENT_ID}:{self.client_secret}".encode()).decode()
        known = secrets.compare_digest(asked.authorization or "", f"Basic {expected}")
        if not known or self._broken():
            return Reply(HTTPStatus.UNAUTHORIZED, {"error": "invalid_client"})
        if parse_qs(asked.body.decode()).get("grant_type") != ["client_credentials"]:
            return Reply(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"})
        token = f"demo-{secrets.token_hex(16)}"
        self.issued.append(token)
        return Reply(HTTPStatus.OK, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def _broken(self) -> bool:
        return self.breakage is Breakage.ISSUING or (self.breakage is Breakage.RENEWAL and bool(self.issued))


@dataclass
class Api:
    """Holds contacts and gives them to whoever bears a token that is issued and not revoked."""

    authorization_server: AuthorizationServer
    breakage: Breakage = Breakage.NOTHING
    seen: list[Seen] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)

    def answer(self, asked: Asked) -> Reply:
        """Answer a request for a contact, or revoke every token there is."""
        if (asked.method, asked.path) == ("POST", "/revoke"):
            if self.breakage is not Breakage.REVOCATION:
                self.revoked.update(self.authorization_server.issued)
            return Reply(HTTPStatus.OK, {"revoked": len(self.revoked)})
        token = (asked.authorization or "").removeprefix("Bearer ")
        good = token in self.authorization_server.issued and token not in self.revoked
        if self.breakage is Breakage.REPLAY and self.revoked:
            good = False
        reply = self._contact(asked.path) if good else self._challenge()
        self.seen.append(Seen(token, reply.status))
        return reply

    @staticmethod
    def _contact(path: str) -> Reply:
        return Reply(HTTPStatus.OK, {"id": path.rpartition("/")[2], "name": "Ada Lovelace"})

    @staticmethod
    def _challenge() -> Reply:
        challenge = ("WWW-Authenticate", 'Bearer error="invalid_token"')
        return Reply(HTTPStatus.UNAUTHORIZED, {"error": "invalid_token"}, (challenge,))


class World(AbstractContextManager["World"]):
    """Both servers on ports of this machine, each on threads of its own, for the length of a `with`.

    The ports are any free ones; with `usual` those of `config/demo.yaml`, as far as nobody has them.
    """

    def __init__(self, breakage: Breakage = Breakage.NOTHING, *, usual: bool = False) -> None:
        self._ports = Ports() if usual else Ports(api=0, authorization_server=0)
        self.client_secret = secrets.token_urlsafe(24)
        self.authorization_server = AuthorizationServer(self.client_secret, breakage)
        self.api = Api(self.authorization_server, breakage)
        self.api_port = 0
        self.authorization_server_port = 0
        self._running = ExitStack()

    def __enter__(self) -> Self:
        api = _server(self.api.answer, self._ports.api)
        self.api_port = self._running.enter_context(api).server_port
        authorization_server = _server(self.authorization_server.answer, self._ports.authorization_server)
        self.authorization_server_port = self._running.enter_context(authorization_server).server_port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _server(answer: Callable[[Asked], Reply], port: int) -> _Server:
    try:
        return _Server(answer, port)
    except OSError:
        return _Server(answer, 0)


class _Server(ThreadingHTTPServer):
    """Serves one `answer` on `port` (0: a free one); idle streams do not keep it from closing."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[Asked], Reply], port: int) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="demo server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a stream that the other side cut, as the proxy does with idle ones when it ends."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # the library's own pair


class _Handler(BaseHTTPRequestHandler):
    """One stream of HTTP/1.1."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes; waiting for the first to be acknowledged would take 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer a request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, self.headers.get("Authorization"), body)
        reply = self.server.answer(asked)
        content = json.dumps(reply.content).encode() + b"\n"  # curl leaves the prompt on a line of its own
        self.send_response(reply.status)
        for name, value in (*reply.fields, ("Content-Type", "application/json"), ("Content-Length", len(content))):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815  # the library's name

    def log_message(self, *_: object) -> None:
        """Say nothing: the story is told by others."""
