"""The admin listener: who is let in, and which part answers. aiohttp serves it; its cost does not matter here."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog

from proxy.admin import answers
from proxy.admin.access import OPEN_TO_ALL, Rules, refusal_of_post
from proxy.admin.api import Api
from proxy.admin.authorize import Authorize
from proxy.admin.pac import MEDIA, script
from proxy.admin.pages import PAGE_TICKET, Pages
from proxy.admin.probes import Probes
from proxy.admin.routes import KNOWN, Page, find
from proxy.admin.served import web
from proxy.admin.tickets import Tickets
from proxy.admin.visits import call, visit
from proxy.clock import SystemClock
from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.admin.health import Health
    from proxy.admin.ports import Ports
    from proxy.admin.status import Exposition
    from proxy.admin.visits import Call
    from proxy.clock import Clock
    from proxy.definitions.settings import AdminListener

# Prometheus gives up after 10 s by default (scrape_timeout).
_SCRAPE_SECONDS: Final = 10.0
_KEEP_ALIVE: Final = 75.0
# Probes, some scrapers and a few browsers; whoever opens more wants to keep those out, or the data path without files.
_STREAMS_MAX: Final = 64

_log = structlog.get_logger()


class AdminServer:
    """Serves the admin listener on a socket that is already bound.

    `scrape` returns the metrics in the format an `Accept` field asks for. `entropy` gives random bytes. Of more than
    `streams_max` streams the one that rested longest gives way: whoever holds many keeps no probe out.
    """

    def __init__(
        self,
        listener: AdminListener,
        ports: Ports,
        health: Health,
        scrape: Callable[[str], Awaitable[Exposition]],
        *,
        clock: Clock | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        scrape_seconds: float = _SCRAPE_SECONDS,
        streams_max: int = _STREAMS_MAX,
    ) -> None:
        clock = clock or SystemClock()
        self._rules = Rules.of(listener)
        self._tickets = Tickets(entropy(32), clock)
        self._probes = Probes(health, scrape, scrape_seconds=scrape_seconds)
        self._api = Api(ports)
        self._local = ports.local
        self._pages = Pages(ports, self._tickets, clock, entropy)
        self._authorize = Authorize(self._rules, ports, self._pages, self._tickets, clock)
        self._streams_max = streams_max
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
        self._web.streams_max = self._streams_max
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
            return await self._probes.answer(request, path)
        seen = visit(request, path)
        refusal = self._rules.refusal(seen)
        if refusal is not None:
            return answers.problem(*refusal)
        route = find(path)
        if route is None:
            return answers.problem(PROBLEMS["no_route"], KNOWN)
        if request.method not in route.methods:
            return _wrong_method(", ".join(route.methods))
        try:
            return await self._guarded(await call(request, seen, route))
        except Refusal as refused:
            return answers.problem(refused.problem, refused.detail, retry_after=refused.retry_after)

    async def _guarded(self, called: Call) -> web.StreamResponse:
        if called.visit.method == "POST":
            page_token = self._tickets.good(PAGE_TICKET, called.form().get("ticket", ""))
            refusal = refusal_of_post(called.visit, page_token=page_token)
            if refusal is not None and called.route.page is Page.CONNECTION_ACTION:
                return await self._pages.stale()
            if refusal is not None:
                return answers.problem(*refusal)
        match called.route.page:
            case Page.STATUS | Page.CONNECTION | Page.CONNECTION_ACTION | Page.ASSET:
                return await self._pages.answer(called)
            case Page.START | Page.CALLBACK | Page.DONE:
                return await self._authorize.answer(called)
            case Page.API_CONNECTIONS | Page.API_ACTION | Page.API_RELOAD | Page.QUIT:
                return await self._api.answer(called)
            case Page.PAC:
                return answers.asset(script(self._local.forward()), MEDIA)
            case Page.AUTHORITY:
                return self._authority()
            case _:
                assert_never(called.route.page)

    def _authority(self) -> web.Response:
        """Answer with what clients are to trust; of its private key there is no page."""
        pem = self._local.authority()
        if pem is None:
            return answers.problem(PROBLEMS["no_route"], "no TLS is intercepted, so there is nothing to trust")
        return answers.asset(pem.encode("ascii"), "application/x-pem-file")


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
    """Makes our streams instead of aiohttp's, and keeps no more than so many of them."""

    streams_max = _STREAMS_MAX

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **kwargs: Any) -> None:  # noqa: ANN401 aiohttp's
        super().__init__(self._counted, **kwargs)
        self._answer = handler
        self._resting: dict[web.RequestHandler, asyncio.Transport] = {}
        self._busy: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """A stream was accepted; where it is one too many, the oldest one goes."""
        super().connection_made(handler, transport)
        if len(self._resting) + len(self._busy) >= self.streams_max:
            streams = self._resting or self._busy
            streams.pop(next(iter(streams))).abort()
        self._resting[handler] = transport

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """A stream is gone."""
        self._resting.pop(handler, None)
        self._busy.pop(handler, None)
        super().connection_lost(handler, exc)

    async def _counted(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer; the stream rests afterwards."""
        stream = request.protocol
        if (transport := self._resting.pop(stream, None)) is not None:
            self._busy[stream] = transport
        try:
            return await self._answer(request)
        finally:
            if (transport := self._busy.pop(stream, None)) is not None:
                self._resting[stream] = transport

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new stream."""
        return _Stream(self, loop=self._loop, **self._kwargs)
