"""The admin listener's answers as aiohttp sends them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.admin.served import web
from proxy.problem import PROXY_NAME, answer

if TYPE_CHECKING:
    from proxy.problem import Problem

_ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": PROXY_NAME,
}
# `same-origin`: with `no-referrer` browsers send `Origin: null` with a form, and its POST would look foreign.
_PAGE: Final = {
    **_ALWAYS,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def text(content: str, status: int = 200) -> web.Response:
    """Return a page of plain text."""
    return web.Response(text=content, status=status, headers=_ALWAYS)


def data(content: object, status: int = 200) -> web.Response:
    """Return JSON."""
    body = json.dumps(content).encode() + b"\n"
    return web.Response(body=body, status=status, headers={**_ALWAYS, "Content-Type": "application/json"})


def page(html: bytes, status: int = 200) -> web.Response:
    """Return a page for a browser."""
    return web.Response(body=html, status=status, headers=_PAGE)


def asset(content: bytes, content_type: str) -> web.Response:
    """Return a part of a page: a style sheet, a script, a picture."""
    return web.Response(body=content, headers={**_ALWAYS, "Content-Type": content_type})


def see_other(location: str, *, cookie: str | None = None) -> web.Response:
    """Send the browser to `location` by GET."""
    headers = {**_ALWAYS, "Referrer-Policy": "same-origin", "Location": location}
    return web.Response(status=303, headers={**headers, "Set-Cookie": cookie} if cookie else headers)


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
