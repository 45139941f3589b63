"""The admin listener's answers as aiohttp sends them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.problem import PROXY_NAME, answer

if TYPE_CHECKING:
    from proxy.problem import Problem

_ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": PROXY_NAME}


def text(content: str, status: int = 200) -> web.Response:
    """Return a page of plain text."""
    return web.Response(text=content, status=status, headers=_ALWAYS)


def data(content: object, status: int = 200) -> web.Response:
    """Return JSON."""
    body = json.dumps(content).encode() + b"\n"
    return web.Response(body=body, status=status, headers={**_ALWAYS, "Content-Type": "application/json"})


def stream(content_type: str) -> web.StreamResponse:
    """Return the head of a response whose body is written in pieces."""
    return web.StreamResponse(headers={**_ALWAYS, "Content-Type": content_type})


def problem(
    kind: Problem, detail: str, *, connection: str = "-", retry_after: float | None = None, allow: str | None = None
) -> web.Response:
    """Return an own answer, from the same table and by the same code as on the data path."""
    fields = (("Allow", allow),) if allow else ()
    whole = answer(kind, detail, connection=connection, retry_after=retry_after, fields=fields)
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = (line.partition(": ")[::2] for line in head.decode().split("\r\n")[1:])
    headers = {name: value for name, value in lines if name != "Content-Length"}
    return web.Response(body=body, status=kind.status, headers={**_ALWAYS, **headers})
