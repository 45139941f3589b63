"""The proxy one would write in an afternoon: aiohttp's low-level server in front of its ClientSession.

The lean way of both: no routes, no middlewares, no decompression, no redirects, bodies streamed, all connections kept.
Arguments: port, TLS port, upstream, TLS upstream, file of the authority, "uvloop" or "asyncio".
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from functools import partial

import aiohttp
from aiohttp import web

_CREDENTIAL = f"Bearer {os.environ['BENCH_TOKEN']}"
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection")
)


async def handle(session: aiohttp.ClientSession, origin: str, request: web.BaseRequest) -> web.StreamResponse:
    """Relay one request."""
    fields = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    fields.pop("Host", None)
    fields["Authorization"] = _CREDENTIAL
    body = request.content if request.body_exists else None
    url = origin + request.raw_path
    async with session.request(request.method, url, headers=fields, data=body, allow_redirects=False) as answer:
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                response.headers.add(name, value)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def main(port: int, tls_port: int, upstream: str, tls_upstream: str, authority: str) -> None:
    """Serve both listeners until killed."""
    context = ssl.create_default_context(cafile=authority)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=600, ssl=context)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
        for listen, origin in ((port, f"http://127.0.0.1:{upstream}"), (tls_port, f"https://localhost:{tls_upstream}")):
            server = web.Server(partial(handle, session, origin), access_log=None, keepalive_timeout=600)
            runner = web.ServerRunner(server)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", listen, backlog=4096).start()
        await asyncio.Event().wait()


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


if __name__ == "__main__":
    _, own, own_tls, plain, secured, ca, loop = sys.argv
    with asyncio.Runner(loop_factory=partial(_new_loop, loop)) as started:
        started.run(main(int(own), int(own_tls), plain, secured, ca))
