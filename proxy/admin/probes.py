"""The pages that are open to all: probes and metrics. They have no effect and reflect nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from proxy.admin import answers
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from proxy.admin.health import Health
    from proxy.admin.status import Exposition

# A scrape of a thousand connections takes 50 ms of this core (docs/performance.md); more at once help nobody.
_SCRAPES: Final = 4


class Probes:
    """Answers from `health` and `scrape`; a scrape gets `scrape_seconds` to be read."""

    def __init__(
        self, health: Health, scrape: Callable[[str], Awaitable[Exposition]], *, scrape_seconds: float
    ) -> None:
        self._health = health
        self._scrape = scrape
        self._scrape_seconds = scrape_seconds
        self._scrapes = 0

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a GET or HEAD of one of `access.OPEN_TO_ALL`."""
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
                _reset(request.transport)
            raise
        finally:
            self._scrapes -= 1


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST: the kernel would go on sending what lies in its buffers, megabytes of it."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _verdict(*, good: bool, word: str) -> web.Response:
    return answers.text(f"{word}\n") if good else answers.text(f"not {word}\n", 503)
