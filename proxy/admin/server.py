"""The admin listener: which path answers what. aiohttp serves it; its cost does not matter here."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from proxy.admin import answers
from proxy.admin.access import OPEN_TO_ALL, Rules, Visit
from proxy.admin.status import NOT_APPLICABLE
from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.admin.health import Health
    from proxy.admin.status import Exposition, Operations
    from proxy.definitions.models import AdminListener

# A scrape of a thousand connections takes 50 ms of this core (docs/performance.md); more at once help nobody.
_SCRAPES: Final = 4
# Prometheus gives up after 10 s by default (scrape_timeout).
_SCRAPE_SECONDS: Final = 10.0
_KEEP_ALIVE: Final = 75.0
_RENEW: Final = re.compile(r"/api/connections/([a-z0-9][a-z0-9_-]{0,62})/renew")
_KNOWN: Final = (
    "here are GET /livez, /readyz, /startupz, /metrics, /api/connections, "
    "POST /api/connections/NAME/renew and POST /quitquitquit"
)

_log = structlog.get_logger()


class AdminServer:
    """Serves the admin listener on a socket that is already bound.

    `scrape` returns the metrics in the format an `Accept` field asks for.
    """

    def __init__(
        self,
        listener: AdminListener,
        operations: Operations,
        health: Health,
        scrape: Callable[[str], Awaitable[Exposition]],
        *,
        scrape_seconds: float = _SCRAPE_SECONDS,
    ) -> None:
        self._rules = Rules.of(listener)
        self._operations = operations
        self._health = health
        self._scrape = scrape
        self._scrape_seconds = scrape_seconds
        self._scrapes = 0
        self._web: _Server | None = None
        self._listening: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on `sock`, a bound stream socket; closes it at the end."""
        if sock.family == socket.AF_UNIX:
            self._path = Path(sock.getsockname())
        self._web = _Server(
            self._handle, access_log=None, keepalive_timeout=_KEEP_ALIVE, lingering_time=1.0, auto_decompress=False
        )
        self._listening = await asyncio.get_running_loop().create_server(self._web, sock=sock)

    async def close(self, patience: float = 1.0) -> None:
        """Stop listening; requests under way get `patience` seconds."""
        if self._listening is None or self._web is None:
            return
        self._listening.close()
        self._web.pre_shutdown()
        await self._web.shutdown(patience)
        await self._listening.wait_closed()
        self._listening = None
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if not path.startswith("/"):
            return answers.problem(PROBLEMS["bad_request"], "the request target is not a path")
        if path in OPEN_TO_ALL:
            if request.method not in ("GET", "HEAD"):
                return _wrong_method("GET, HEAD")
            return await self._open_page(request, path)
        refusal = self._rules.refusal(_visit(request))
        if refusal is not None:
            return answers.problem(*refusal)
        return await self._guarded_page(request, path)

    async def _open_page(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        match path:
            case "/livez":
                return answers.text("ok\n")
            case "/startupz":
                return _verdict(good=self._health.started, word="started")
            case "/readyz" if "verbose" in request.rel_url.query:
                return answers.text(self._health.report(), 200 if self._health.ready else 503)
            case "/readyz":
                return _verdict(good=self._health.ready, word="ready")
            case _:
                return await self._metrics(request)

    async def _guarded_page(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/api/connections":
            if request.method not in ("GET", "HEAD"):
                return _wrong_method("GET, HEAD")
            return answers.data([status.as_json() for status in self._operations.connections()])
        renewal = _RENEW.fullmatch(path)
        if renewal is None and path != "/quitquitquit":
            return answers.problem(PROBLEMS["no_route"], _KNOWN)
        if request.method != "POST":
            return _wrong_method("POST")
        if renewal is not None:
            return await self._renew(renewal[1])
        _log.info("quit_requested")
        self._operations.quit()
        return answers.text("draining\n")

    async def _renew(self, name: str) -> web.Response:
        found = next((status for status in self._operations.connections() if status.name == name), None)
        if found is None:
            return answers.problem(PROBLEMS["no_route"], "no connection has that name")
        if found.state == NOT_APPLICABLE:
            return answers.problem(PROBLEMS["no_route"], "this connection needs no token", connection=name)
        try:
            await self._operations.renew(name)
        except Refusal as refusal:
            return answers.problem(refusal.problem, refusal.detail, connection=name, retry_after=refusal.retry_after)
        now = next((status for status in self._operations.connections() if status.name == name), found)
        return answers.data(now.as_json())

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._scrapes >= _SCRAPES:
            return answers.problem(PROBLEMS["overloaded"], "too many scrapes at once", retry_after=1)
        self._scrapes += 1
        try:
            async with asyncio.timeout(self._scrape_seconds):
                exposition = await self._scrape(request.headers.get("Accept", ""))
                response = answers.stream(exposition.content_type)
                await response.prepare(request)
                for piece in exposition.pieces if request.method == "GET" else ():
                    await response.write(piece)
                    # `write` waits only for a full buffer; the data path gets its turn after each piece.
                    await asyncio.sleep(0)
                await response.write_eof()
                return response
        except TimeoutError:
            # Whoever reads this slowly would keep others from their scrape.
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._scrapes -= 1


def _visit(request: web.BaseRequest) -> Visit:
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    local = transport.get_extra_info("sockname") if transport is not None else None
    return Visit(
        method=request.method,
        # Anything but a pair is a unix socket's path; no transport: the peer is gone, and is nobody.
        peer=str(peer[0]) if isinstance(peer, tuple) else "" if transport is not None else "gone",
        local=str(local[0]) if isinstance(local, tuple) else "",
        fields=request.headers,
        has_body=request.body_exists,
    )


def _verdict(*, good: bool, word: str) -> web.Response:
    return answers.text(f"{word}\n") if good else answers.text(f"not {word}\n", 503)


def _wrong_method(allow: str) -> web.Response:
    return answers.problem(PROBLEMS["method_not_allowed"], f"this page takes {allow}", allow=allow)


class _Stream(web.RequestHandler):
    """One stream; what aiohttp would say itself about a bad request quotes it, and ours does not."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return an own answer for a request that could not be read or whose page failed."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun")
        if status < 500:
            response = answers.problem(PROBLEMS["bad_request"], "the request can't be read")
        else:
            _log.error("admin_page_failed", exc_info=exc)
            response = answers.problem(PROBLEMS["internal_error"], "the page failed; the log says why")
        response.force_close()
        return response


class _Server(web.Server):
    """Makes our streams instead of aiohttp's."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new stream."""
        return _Stream(self, loop=self._loop, **self._kwargs)
