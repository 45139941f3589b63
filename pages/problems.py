"""The page of the proxy's own answers, from their table."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from pages.text import begun, code, table
from proxy.problem import PROBLEMS, Origin

_ABOUT: Final = """\
When the answer is the proxy's own and not the API's, it is `application/problem+json` (RFC 9457) with a `code` of this
table, and `Proxy-Status: iclient-proxy; error=…; details="CODE"` (RFC 9209).
[Troubleshooting](../troubleshooting.md) says what to do about each.

```json
{"type": "urn:iclient-proxy:problem:no_route", "title": "No connection claims this request", "status": 404,
 "code": "no_route", "detail": "…", "request_id": "d793ae78c4-1", "connection": "-", "origin": "downstream"}
```

`origin` says whose fault it is:"""
_ORIGINS: Final = {
    Origin.DOWNSTREAM: "the application's request, or who sent it",
    Origin.PROXY: "the proxy's: its definitions, its store, or a mistake of ours",
    Origin.AUTHORIZATION_SERVER: "there is no token to send, and the authorization server is why",
    Origin.UPSTREAM: "the API's, or of the way to it",
}


def page() -> str:
    """Return the page."""
    lines = begun("Own answers: every code", _ABOUT)
    lines += table(("origin", "it is"), ((code(origin), about) for origin, about in _ORIGINS.items()))
    rows = (
        (
            code(row.code),
            f"{row.status} {HTTPStatus(row.status).phrase}",
            code(row.origin),
            row.title,
            code(row.proxy_error),
        )
        for row in PROBLEMS.values()
    )
    lines += ["## Codes", "", *table(("code", "status", "origin", "title", "`error` of Proxy-Status"), rows)]
    return "\n".join(lines).rstrip() + "\n"
