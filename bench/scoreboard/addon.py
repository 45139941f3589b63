"""mitmproxy's part: what a competent engineer writes in an afternoon. It runs in mitmproxy's own interpreter.

A token by client credentials, kept until it expires or, where nobody says when that is, until it is refused. After a
401 one renewal for all who had the same token, and the request once more, since mitmproxy holds its body whole.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import math
import os
import time
import urllib.request
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode

from mitmproxy import http as messages  # type: ignore[import-not-found,unused-ignore]  # there, not here

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS = 10.0
_HOPS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class Request(Protocol):
    """What the addon touches of a request."""

    method: str
    path: str
    host: str
    port: int
    headers: dict[str, str]
    raw_content: bytes | None


class Response(Protocol):
    """What the addon touches of a response."""

    status_code: int
    headers: dict[str, str]
    stream: bool


class Flow(Protocol):
    """A request and its response."""

    request: Request
    response: Response
    metadata: dict[str, str]


class Tokens:
    """The current token; whoever needs a newer one waits for the same request."""

    def __init__(self) -> None:
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(self, refused: str = "") -> str:
        """Return a token that is neither expired nor the refused one; raises OSError or ValueError if there is none."""
        async with self._lock:
            if not self._token or self._token == refused or time.monotonic() >= self._until:
                self._token = ""
                self._token, self._until = await asyncio.to_thread(_fetch)
            return self._token


class Inject:
    """Puts the token on requests and renews it after a 401."""

    def __init__(self) -> None:
        self._tokens = Tokens()

    async def request(self, flow: Flow) -> None:
        """Put the token on, or answer 502 when there is none."""
        try:
            token = await self._tokens.get()
        except (OSError, ValueError, KeyError) as error:
            flow.response = messages.Response.make(502, f"no token: {error}\n")
            return
        flow.metadata["token"] = token
        flow.request.headers["Authorization"] = f"Bearer {token}"

    def responseheaders(self, flow: Flow) -> None:
        """Relay events as they come."""
        flow.response.stream = flow.response.headers.get("content-type", "").startswith("text/event-stream")

    async def response(self, flow: Flow) -> None:
        """After a 401: renew, and send the request once more."""
        if flow.response.status_code != 401 or "token" not in flow.metadata:
            return
        try:
            token = await self._tokens.get(refused=flow.metadata["token"])
            status, fields, body = await asyncio.to_thread(_again, flow.request, token)
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return  # the application gets the 401
        flow.response = messages.Response.make(status, body, fields)


def _fetch() -> tuple[str, float]:
    form = urlencode({"grant_type": "client_credentials"}).encode()
    basic = base64.b64encode(f"{os.environ['CLIENT_ID']}:{os.environ['CLIENT_SECRET']}".encode()).decode()
    asked = time.monotonic()
    request = urllib.request.Request(os.environ["TOKEN_URL"], form, {"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:
        answer = json.load(response)
    return answer["access_token"], asked + float(answer.get("expires_in", math.inf))


def _again(request: Request, token: str) -> tuple[int, Iterable[tuple[bytes, bytes]], bytes]:
    fields = {name: value for name, value in request.headers.items() if name.lower() not in _HOPS}
    fields["Authorization"] = f"Bearer {token}"
    stream = http.client.HTTPConnection(request.host, request.port, timeout=_SECONDS)
    try:
        stream.request(request.method, request.path, request.raw_content or None, fields)
        response = stream.getresponse()
        body = response.read()
    finally:
        stream.close()
    kept = [(n.encode(), v.encode()) for n, v in response.getheaders() if n.lower() not in _HOPS]
    return response.status, kept, body


addons = [Inject()]
