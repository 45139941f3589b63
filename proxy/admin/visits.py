"""A request as the pages see it: what it says of itself, and its body, read only so far."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from proxy.admin.access import Visit
from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.admin.routes import Route

_BODY_MAX: Final = 64 * 1024  # a redirected URL with its code is the longest there is
_BODY_SECONDS: Final = 10.0  # a program on this machine sends it at once


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a page behind the guard, let through. `query` is raw; `cookies` are the `Cookie` fields."""

    route: Route
    visit: Visit
    query: str
    cookies: tuple[str, ...]
    media: str
    body: bytes

    @property
    def host(self) -> str:
        """The Host field in lower case."""
        return self.visit.fields.get("Host", "").lower()

    def form(self) -> Mapping[str, str]:
        """Return the fields of an HTML form; of anything else none."""
        if self.media != "application/x-www-form-urlencoded":
            return {}
        return _pairs(self.body.decode("ascii", "replace"))

    def parameters(self) -> Mapping[str, str]:
        """Return the query taken apart; the first of each name."""
        return _pairs(self.query)

    def texts(self, *names: str) -> tuple[str, ...]:
        """Return the strings of that names in the JSON body; raises `Refusal`."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Refusal(PROBLEMS["bad_request"], "the body is not JSON") from error
        values = [content.get(name) for name in names] if isinstance(content, dict) else []
        found = tuple(value for value in values if isinstance(value, str))
        if len(found) < len(names):
            raise Refusal(PROBLEMS["bad_request"], f"the body is JSON with the texts {' and '.join(names)}")
        return found


def visit(request: web.BaseRequest, path: str) -> Visit:
    """Return what a request says of itself."""
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
        path=path,
    )


async def call(request: web.BaseRequest, seen: Visit, route: Route) -> Call:
    """Return the request with its body; raises `Refusal` when that is too long or does not come."""
    return Call(
        route,
        seen,
        query=request.raw_path.partition("?")[2],
        cookies=tuple(request.headers.getall("Cookie", ())),
        media=request.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        body=await _body(request) if seen.has_body else b"",
    )


async def _body(request: web.BaseRequest) -> bytes:
    read = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.content.iter_any():
                read += piece
                if len(read) > _BODY_MAX:
                    raise Refusal(PROBLEMS["bad_request"], "the body is too long")
    except TimeoutError as error:
        raise Refusal(PROBLEMS["client_body_timeout"], "the body did not come in time") from error
    return bytes(read)


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return dict(reversed(pairs))
